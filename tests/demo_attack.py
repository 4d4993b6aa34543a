"""Everything hostile at the demo at once: `python tests/demo_attack.py [--short] [--seed N]` starts one and attacks it.

Prints a table: what was tried, what was answered, the server's largest memory meanwhile. Exit code 1 if an answer told
what it must not tell, an address was fetched, memory grew by more than a gigabyte, an honest request was not answered,
or files were left behind.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from demo_bombs import bombs, wav
from demo_fixtures import Server, running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[2]
MOST_GROWTH = 2**30
SECRET = uuid.uuid4().hex
JSON = {"Content-Type": "application/json"}
FINE: list[Any] = [None, 0.7, 0, 0, 0, False, False]
"""Inputs of /resynthesize, the recording first."""


@dataclasses.dataclass
class Row:
    """What came of one kind of attack."""

    name: str
    answers: collections.Counter[str]
    problems: list[str]
    memory: int = 0

    def text(self) -> str:
        answers = ", ".join(f"{count} × {kind}" for kind, count in self.answers.most_common())
        return f"| {self.name} | {self.answers.total()} | {answers} | {self.memory / 1e6:.0f} | {len(self.problems)} |"


class Attacker:
    """One demo under attack.

    Args:
        share: of the full number of requests.
        folder: for files to upload, and a secret that nobody may read.
    """

    def __init__(self, demo: Server, share: float, seed: int, folder: Path):
        self.demo, self.share, self.random, self.folder = demo, share, random.Random(seed), folder
        there = urllib.parse.urlsplit(demo.address)
        self.there = str(there.hostname), there.port or 80
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)

    def number(self, full: int) -> int:
        return max(1, round(self.share * full))

    def request(self, method: str, path: str, body: bytes = b"", head: dict[str, str] | None = None) -> tuple[str, str]:
        """Status and text of an answer to exactly this, from an address of its own."""
        connection = http.client.HTTPConnection(*self.there, timeout=300)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            source = f"10.{self.random.randrange(256)}.{self.random.randrange(256)}.1"
            sent = {"X-Forwarded-For": source, "Content-Length": str(len(body)), "Connection": "close", **(head or {})}
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            try:
                text = answer.read()
            except http.client.IncompleteRead as error:  # Gradio so ends the events of a request that there is not
                text = error.partial
            return str(answer.status), text.decode(errors="replace")

    def post(self, path: str, body: Any, head: dict[str, str] | None = None) -> tuple[str, str]:
        return self.request("POST", f"/gradio_api/{path}", json.dumps(body).encode(), {**JSON, **(head or {})})

    def raw(self, data: bytes) -> tuple[str, str]:
        """Status and text of the answer to bytes, after which nothing follows."""
        answer = b""
        with socket.create_connection(self.there, 60) as connection, contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(2**16):
                answer += piece
        text = answer.decode(errors="replace")
        return text[9:12] if text.startswith("HTTP/1.1 ") else "hung up", text

    def call(self, endpoint: str, data: list[Any], head: dict[str, str] | None = None) -> tuple[str, str]:
        """What a call of the API ends with: complete, error, or the status that refused it."""
        status, text = self.post(f"call/{endpoint}", {"data": data}, head)
        if status != "200":
            return status, text
        _, text = self.request("GET", f"/gradio_api/call/{endpoint}/{json.loads(text)['event_id']}")
        return ("error" if "event: error" in text else "complete" if "event: complete" in text else "nothing"), text

    def upload(self, name: str, content: bytes) -> tuple[str, str]:
        part = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        head = {"Content-Type": "multipart/form-data; boundary=b"}
        return self.request("POST", "/gradio_api/upload", part + content + b"\r\n--b--\r\n", head)

    def leaks(self, status: str, text: str) -> list[str]:
        """What an answer tells and must not. Uploads and results name their place, refusals nothing."""
        private = [SECRET, README, str(ROOT), "Traceback", 'File "', "root:x:"]
        if status not in ("200", "complete"):
            private += [str(self.demo.temporary), "site-packages"]
        return [word for word in private if word in text]

    def run(self, name: str, attempts: Iterable[Callable[[], tuple[str, str]]], wanted: Iterable[str] = ()) -> Row:
        """All attempts, 16 at a time; each must be answered, without leaks, and with one of the `wanted` statuses."""
        row = Row(name, collections.Counter(), [])
        with self.watched(row), concurrent.futures.ThreadPoolExecutor(16) as pool:
            for future in [pool.submit(attempt) for attempt in attempts]:
                try:
                    status, text = future.result()
                except Exception as error:
                    status, text = type(error).__name__, ""
                    row.problems.append(f"{name}: {error!r}")
                row.answers[status] += 1
                row.problems += [f"{name}: told {word!r}: {text[:200]}" for word in self.leaks(status, text)]
                if wanted and status not in wanted:
                    row.problems.append(f"{name}: {status}: {text[:200]}")
        return row

    @contextlib.contextmanager
    def watched(self, row: Row) -> Iterator[None]:
        """Notes the server's largest memory; afterwards it must be alive, and not much larger than before."""
        over, before = threading.Event(), self.demo.memory()

        def watch() -> None:
            while not over.wait(0.05):
                with contextlib.suppress(OSError, StopIteration):
                    row.memory = max(row.memory, self.demo.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            if self.demo.process.poll() is not None:
                raise SystemExit(f"{row.name}: ended the server")
            if row.memory - before > MOST_GROWTH:
                row.problems.append(f"{row.name}: memory grew from {before / 1e6:.0f} to {row.memory / 1e6:.0f} MB")
            if self.request("GET", "/config")[0] != "200":
                row.problems.append(f"{row.name}: the server does not answer any more")

    # What is tried.

    def proxy(self, host: str) -> Row:
        """Have the server fetch an address."""
        schemes = ("http://", "HTTP://", "https://", "//", "http:/", "%68ttp://", "http%3A%2F%2F", " http://", "ftp://")
        addresses = [f"{scheme}{host}/{index}.wav" for scheme in schemes for index in range(self.number(10))]
        plain = [address.replace(" ", "%20") for address in addresses]
        attempts = [lambda a=a: self.request("GET", f"/gradio_api/file={a}") for a in plain]
        attempts += [lambda a=a: self.request("HEAD", f"/gradio_api/proxy={a}") for a in plain]
        for address in addresses:
            file = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
            place = self.random.randrange(len(FINE))
            data = [*FINE[:place], file, *FINE[place + 1 :]]
            attempts.append(lambda d=data: self.call("resynthesize", d))
            attempts.append(lambda f=file: self.call("score_files", [[f]]))
        return self.run("addresses to fetch", attempts, ("403", "error"))

    def traversal(self) -> Row:
        """Read files that are none of a visitor's."""
        files = [str(self.secret), "/etc/passwd", "/proc/self/environ", "/proc/self/cwd/README.md", "/README.md"]
        spellings = [
            f"/gradio_api/{room}{way}{file}"
            for file in files
            for room in ("file=", "file/", "static/")
            for way in ("", "/..", "..", "%2e%2e/%2e%2e", "/tmp/../..", "..%5c..", "/proc/self/root", "/%00")
        ]
        spellings += [
            f"/{room}/../../..{file}" for file in files for room in ("static", "assets", "svelte", "theme.css")
        ]
        spellings += [s.replace("/", "%2f") for s in spellings]
        chosen = self.random.sample(spellings, self.number(len(spellings)))
        attempts = [lambda s=s: self.request("GET", s) for s in chosen]
        for file in files:
            given = {"path": file, "meta": {"_type": "gradio.FileData"}}
            attempts.append(lambda g=given: self.call("resynthesize", [g, *FINE[1:]]))
            attempts.append(lambda g=given: self.call("check_mel", [g]))
            attempts.append(lambda f=file: self.upload(f"../../../../{f}.wav", b"x"))
        return self.run("files of others", attempts)

    def malformed(self) -> Row:
        """Requests that are broken in every way."""
        return self.run("malformed requests", [self._broken() for _ in range(self.number(1300))])

    def _broken(self) -> Callable[[], tuple[str, str]]:
        some = self.random
        odd = [
            None,
            True,
            -1,
            2**70,
            1e308,
            float("nan"),
            "",
            "../x",
            "\x00",
            "é" * 500,
            [],
            {},
            [[[]]],
            {"path": 1},
            {"path": None, "meta": {"_type": "gradio.FileData"}},
            {"__type__": "update"},
            "<b>x</b>",
        ]
        endpoint = some.choice(
            [
                "resynthesize",
                "speak",
                "check_mel",
                "latent",
                "score",
                "score_files",
                "pair",
                "walk",
                "fit_flow",
                "sample_flow",
            ]
        )
        data = [some.choice(odd) for _ in range(some.randrange(9))]
        body = {"data": data, "fn_index": some.choice(odd), "session_hash": some.choice(odd), "event_data": data}
        for name in some.sample(sorted(body), some.randrange(3)):
            body[name] = some.choice(odd)
        noise = some.randbytes(some.randrange(1, 400))
        text = json.dumps(body).encode()
        cut = text[: some.randrange(len(text))]
        deep = b"[" * some.randrange(1, 60_000)
        room = some.choice(["queue/join", "run/walk", "call/walk", "cancel", "reset", "upload", "queue/data", "info"])
        line = some.choice([b"GET", b"POST", b"\xff", b"G" * 9000]) + b" /" + noise.hex().encode() + b" HTTP/1.1\r\n"
        head = b"POST /gradio_api/%s HTTP/1.1\r\nHost: localhost\r\n" % room.encode()
        form = {"Content-Type": some.choice(["multipart/form-data", "multipart/form-data; boundary=b", "text/html"])}
        method, length = some.choice(["PUT", "DELETE", "OPTIONS", "XX"]), some.choice([b"-1", b"9", b"x", b"9" * 30])
        long = b"b" * some.choice([10, 2**17])
        return some.choice([
            lambda: self.call(endpoint, data),
            lambda: self.post("queue/join", body),
            lambda: self.post(room, body),
            lambda: self.request("POST", f"/gradio_api/{room}", cut, JSON),
            lambda: self.request("POST", f"/gradio_api/{room}", deep, JSON),
            lambda: self.request("POST", "/gradio_api/upload", b"--b\r\n" + noise, form),
            lambda: self.request(method, f"/gradio_api/{room}"),
            lambda: self.request("GET", f"/gradio_api/{room}/{noise.hex()}?{noise.hex()}"),
            lambda: self.raw(noise),
            lambda: self.raw(line + b"Host: " + noise),
            lambda: self.raw(head + b"Content-Length: " + length + b"\r\n\r\n{"),
            lambda: self.raw(head + b"A: " + long + b"\r\n" + noise + b"\r\n\r\n"),
        ])  # fmt: skip

    def bombs(self) -> Row:
        """Small files that claim to be large."""
        attempts = []
        for name, content in bombs():
            recording = not name.endswith((".npy", ".npz", ".pt"))
            attempts.append(lambda n=name, c=content, r=recording: self._ask_about(n, c, r))
        return self.run("bombs", attempts, ("error",))

    def _ask_about(self, name: str, content: bytes, recording: bool) -> tuple[str, str]:
        status, text = self.upload(name, content)
        if status != "200":
            return status, text
        file = {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}}
        if recording:
            return self.call("resynthesize", [file, *FINE[1:]])
        return self.call("speak", [file, False, 0.7, 0, 0, 0, False, False])

    def greed(self) -> Row:
        """One address asks for everything. It is refused in the end; what it got is cancelled."""
        source, events = {"X-Forwarded-For": "10.9.9.9"}, []

        def ask() -> tuple[str, str]:
            status, text = self.post("call/walk", {"data": [self.recording, False, False]}, source)
            events.extend([json.loads(text)["event_id"]] if status == "200" else [])
            return status, text

        row = self.run("one address asks for all", [ask] * max(40, self.number(200)), ("200", "503"))
        if "503" not in row.answers:
            row.problems.append("one address asks for all: nothing was refused")
        for event in events:
            self.post("cancel", {"session_hash": event, "fn_index": 0, "event_id": event})
        return row

    def half_open(self) -> Row:
        """Connections that never finish a head, or a body; meanwhile an honest visitor is answered."""
        whole = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        row = Row("half-open connections", collections.Counter(), [])
        with self.watched(row), contextlib.ExitStack() as stack:
            held = []
            for index in range(self.number(400)):
                held.append(stack.enter_context(socket.create_connection(self.there, 120)))
                held[-1].sendall(whole if index % 2 else whole[: 1 + index % 60])
            if self.request("GET", "/config")[0] != "200":
                row.problems.append("half-open connections: nobody else was answered")
            for connection in held:
                try:
                    answer = connection.recv(100)
                    row.answers[answer[9:12].decode() or "hung up"] += 1
                except OSError as error:
                    row.problems.append(f"half-open connections: {error!r}")
        return row

    def honest(self, clients: int) -> Row:
        """Visitors who want a recording resynthesised."""
        attempt = lambda: self.call("resynthesize", [self.recording, *FINE[1:]])  # noqa: E731
        row = Row(f"{clients} honest visitors at once", collections.Counter(), [])
        with self.watched(row), concurrent.futures.ThreadPoolExecutor(clients) as pool:
            for status, text in pool.map(lambda _: attempt(), range(clients)):
                row.answers[status] += 1
                if status != "complete":
                    row.problems.append(f"honest visitors: {status}: {text[:200]}")
        return row

    def everything(self) -> list[Row]:
        """One attack after another."""
        status, text = self.upload("speech.wav", wav(22050, np.sin(np.arange(26460) / 9) * 9000))
        assert status == "200", text
        self.recording = {"path": json.loads(text)[0], "meta": {"_type": "gradio.FileData"}}
        rows = [self.honest(1)]
        with _listening() as (host, asked):
            rows.append(self.proxy(host))
        if asked:
            rows[-1].problems.append(f"addresses were fetched: {asked}")
        rows += [self.traversal(), self.malformed(), self.bombs(), self.greed(), self.half_open()]
        rows += [self.honest(self.number(50)), self.honest(1)]
        if hosts := self.demo.foreign_hosts():
            rows[-1].problems.append(f"the server spoke to {hosts}")
        return rows


@contextlib.contextmanager
def _listening() -> Iterator[tuple[str, list[str]]]:
    """A public host's stand-in: its name, and who connected."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    asked.append(str(server.accept()[1]))

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            over.set()
            thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/demo_attack.py", description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a twentieth of the requests")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        (folder / "server").mkdir()
        with running(folder / "server", "--threads", "1") as demo:
            rows = Attacker(demo, 0.05 if arguments.short else 1.0, arguments.seed, folder).everything()
        left = [path for path in demo.temporary.rglob("*") if path.is_file()]
        tracebacks = demo.log.read_text(errors="replace").count("Traceback")
    print("| attack | requests | answers | server's memory, MB | problems |\n|---|---|---|---|---|")
    print("\n".join(row.text() for row in rows))
    problems = [*(problem for row in rows for problem in row.problems), *(f"left behind: {path}" for path in left)]
    print(f"{time.monotonic() - started:.0f} s, {tracebacks} tracebacks in the server's log, {len(left)} files left")
    print("\n".join(problems[:40]))
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
