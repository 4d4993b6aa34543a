"""A stand-in for the HTTP API of the Hugging Face Hub: repositories in memory, files as Git LFS keeps them."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from typing import Any


class Hub:
    """What it holds, and what it was asked for.

    Attributes:
        revisions: of each repository, oldest first: commit -> files.
        tags: names of commits.
    """

    def __init__(self) -> None:
        self.revisions: dict[str, dict[str, dict[str, bytes]]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sizes: dict[str, int] = {}
        self.etags: dict[str, str] = {}
        self.address = ""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """A new state of a repository: what was there, and these."""
        states = self.revisions.setdefault(repo, {})
        before = next(reversed(states.values()), {})
        name = hashlib.sha1(f"{repo} {len(states)}".encode()).hexdigest()
        states[name] = {**before, **files}
        return name

    def found(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a branch, tag or commit."""
        states = self.revisions.get(repo, {})
        name = self.tags.get((repo, revision), next(reversed(states), "") if revision == "main" else revision)
        return (name, states[name]) if name in states else None


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: bytes = b"", **head: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **head}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, values: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(values).encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        asked = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if asked is None:
            self._json({"error": "no such thing"}, 404)
            return
        repo, revision, name = asked.groups()
        found = self.hub.found(repo, revision)
        if repo not in self.hub.revisions:
            self._answer(404, X_Error_Code="RepoNotFound")
        elif found is None:
            self._answer(404, X_Error_Code="RevisionNotFound")
        elif name not in found[1]:
            self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=found[0])
        else:
            content = found[1][name]
            etag = self.hub.etags.get(name, hashlib.sha256(content).hexdigest())
            size = self.hub.sizes.get(name, len(content))
            head = {"ETag": f'"{etag}"', "X_Repo_Commit": found[0], "Accept_Ranges": "bytes"}
            if self.command == "HEAD":
                head["X_Linked_Size"] = str(size)
            self._answer(200, content, **head)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer right":
            self._answer(401, X_Error_Message="a token with the right to write is needed")
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            values = json.loads(content)
            repo = (
                f"{values['organization']}/{values['name']}" if values.get("organization") else f"me/{values['name']}"
            )
            self.hub.revisions.setdefault(repo, {})
            self._json({"url": f"{self.hub.address}/{repo}"})
        elif "/preupload/" in self.path:
            files = json.loads(content)["files"]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in (f["path"] for f in files)}
            self._json({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(content)["objects"]
            self._json({"transfer": "basic", "objects": [
                {**one, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}} for one in objects
            ]})  # fmt: skip
        elif asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main.*", self.path):
            self._commit(asked[1], [json.loads(line) for line in content.splitlines()])
        else:
            self._json({"error": "no such thing"}, 404)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.blobs[hashlib.sha256(content).hexdigest()] = content
        self._answer(200)

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        name = self.hub.commit(repo, files)
        address = f"{self.hub.address}/{repo}/commit/{name}"
        self._json({"commitOid": name, "commitUrl": address, "pullRequestUrl": None})

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """A stand-in that listens on this machine."""
    hub = Hub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
