"""A file server that can be told to misbehave, request by request."""

import hashlib
import http.server
import threading
import time
from pathlib import Path


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of one folder, with ranges and entity tags.

    `faults` are taken one a request: "break" sends half of what was asked for, "wrong" flips bits, "whole" knows no
    ranges, "hang" stops in the middle until the server is closed, a number is answered as an HTTP error.
    """

    daemon_threads = True

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.faults: list[str | int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.closed = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.closed.set()
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.requests.append((self.path, asked))
        fault = server.faults.pop(0) if server.faults else None
        path = server.root / self.path.lstrip("/")
        if isinstance(fault, int) or not path.is_file():
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        data = path.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if fault == "whole" or self.headers.get("If-Range", tag) != tag:
            start = 0
        if start and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", tag)
        self.end_headers()
        body = data[start:]
        if fault in ("break", "hang"):
            body = body[: max(len(body) // 2, 1)]
        elif fault == "wrong":
            body = bytes(b ^ 0xFF for b in body)
        self.wfile.write(body)
        self.wfile.flush()
        while fault == "hang" and not server.closed.is_set():
            time.sleep(0.02)

    def log_message(self, *arguments: object) -> None:
        pass
