"""What is no HTTP, or no websocket, gets an error object, too."""

import base64
import json

import h11
from starlette.datastructures import Headers

from flowvocoder.server.answers import error
from flowvocoder.web.connections import ImpatientProtocol

VERSION, KEY_BYTES = "13", 16
"""Of a websocket's handshake (RFC 6455)."""


class AnsweringProtocol(ImpatientProtocol):
    """Uvicorn's HTTP connection, whose own refusals would be plain text."""

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no HTTP/1.1, after which the connection ends."""
        content = json.dumps(error(400, msg)).encode()
        head = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), ("Connection", "close")]
        answer = (
            h11.Response(status_code=400, headers=head, reason="Bad Request"),
            h11.Data(data=content),
            h11.EndOfMessage(),
        )
        for event in answer:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """A handshake, which websockets itself would refuse in plain text."""
        problem = _handshake_problem(event.method, Headers(raw=list(event.headers)))
        if problem:
            self.send_400_response(problem)
        else:
            super().handle_websocket_upgrade(event)


def _handshake_problem(method: bytes, headers: Headers) -> str:
    """What is wrong with it; empty for nothing."""
    if method != b"GET":
        return "A websocket begins with GET"
    if headers.getlist("sec-websocket-version") != [VERSION]:
        return f"Sec-WebSocket-Version must be {VERSION}"
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or len(headers.getlist("sec-websocket-key")) != 1:
        return f"Sec-WebSocket-Key must be {KEY_BYTES} bytes in base64"
    return ""
