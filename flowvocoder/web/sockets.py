"""Websockets."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class RefusingProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's websocket connection, which takes a refusal in HTTP for a mistake, and would log each."""

    async def send(self, message: Any) -> None:
        """A message of the application."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
