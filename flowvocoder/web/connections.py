"""Connections that are hung up on: a head that never ends, an answer that nobody takes."""

import contextlib
from asyncio import Transport
from collections.abc import Iterator
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""A connection's first request must have its head complete in this time, a later one in twice as much."""

TAKE_SECONDS = 60.0
"""An answer of which nothing was taken in this time is given up."""


class ImpatientProtocol(H11Protocol):
    """Uvicorn's HTTP connection, closed if no request is in progress at one look and none has come by the next.

    Uvicorn itself closes connections that are idle after an answer, but waits for the rest of a head for ever, and for
    somebody to take an answer. Of its two protocols this one bounds a head, to 64 KiB.
    """

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Starts to look after the connection."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_SECONDS, self._look, None)
        self.loop.call_later(TAKE_SECONDS, self._look_at_answer, 0)

    def _look(self, before: Any) -> None:
        request = self.cycle
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # gone, or a websocket now
            return
        if (request is None or request.response_complete) and request is before:
            self.transport.close()
        else:
            self.loop.call_later(HEAD_SECONDS, self._look, request)

    def _look_at_answer(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left and left == before:
            self.transport.abort()
        elif left or not self.transport.is_closing():
            self.loop.call_later(TAKE_SECONDS, self._look_at_answer, left)


@contextlib.contextmanager
def impatient_connections() -> Iterator[None]:
    """Servers of other libraries that start in here hang up as `ImpatientProtocol` does."""
    protocols = uvicorn.config.HTTP_PROTOCOLS
    before = protocols["auto"]
    protocols["auto"] = f"{__name__}:{ImpatientProtocol.__name__}"
    try:
        yield
    finally:
        protocols["auto"] = before
