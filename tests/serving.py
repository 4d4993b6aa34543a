"""A server for tests, in a thread of this process, and clients of it."""

import contextlib
import dataclasses
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from flowvocoder.server.app import Application, GracefulServer, build, with_demo
from flowvocoder.server.limits import Limits
from flowvocoder.text.acoustic import Acoustic
from flowvocoder.vocoder import Vocoder


@dataclasses.dataclass
class Served:
    """A running server."""

    port: int
    application: Application
    server: GracefulServer

    def ask(
        self, method: str, path: str, body: bytes = b"", head: dict[str, str] | None = None, address: str = "10.0.0.1"
    ) -> tuple[int, bytes]:
        """Status and body of the answer to exactly this, from a client at `address` behind a proxy."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host="Host" in (head or {}))
            sent = {"X-Forwarded-For": address, "Content-Length": str(len(body)), **(head or {})}
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def error(self, *request: Any, **more: Any) -> dict[str, Any]:
        """The error object of a refusal, whose form is looked at."""
        status, content = self.ask(*request, **more)
        error = json.loads(content)["error"]
        assert set(error) == {"code", "message", "status"} and error["status"] == status, content
        assert error["message"] and "\n" not in error["message"] and "/work" not in error["message"], content
        return error


@contextlib.contextmanager
def serving(
    vocoder: Vocoder,
    limits: Limits | None = None,
    key: str | None = None,
    tts: Acoustic | None = None,
    demo: str | None = None,
    wyoming: socket.socket | None = None,
) -> Iterator[Served]:
    """A server on a free port; told to stop at the end, and waited for."""
    application = build(vocoder, limits or Limits(), ["localhost"], key, tts, wyoming)
    server = GracefulServer(application)
    with socket.create_server(("127.0.0.1", 0)) as listening, with_demo(application, vocoder, demo, tts):
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(listening.getsockname()[1], application, server)
        finally:
            application.places.stop()
            thread.join()
