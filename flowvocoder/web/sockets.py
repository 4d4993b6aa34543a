"""Websockets."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class RefusingProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's websocket connection, which would log each refusal in HTTP and each text that is no UTF-8."""

    def send_receive_event_to_app(self) -> None:
        """A message of the client's is complete."""
        if self.curr_msg_data_type == "text":
            self.frames = [b"".join(self.frames).decode(errors="replace").encode()]
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """A message of the application."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
