"""How much one visitor may send, keep on the server's disk, and ask for at a time."""

import asyncio
import contextlib
import stat
import time
from pathlib import Path
from typing import Any

from gradio import route_utils
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowvocoder.demo import inputs

WAITING, WAITING_OF_ONE = 64, 16
"""Requests that may wait, of all visitors and of one address. Further ones hear that the server is busy."""

LARGEST_REQUEST, LARGEST_UPLOAD = 2**20, 4 * inputs.LARGEST_FILE
"""Bytes of a request's body: settings and names of files; the files themselves, of which each has a limit too."""

PAUSE_SECONDS, SLOWEST = 10.0, 64 * 2**10
"""A body may pause for so long between two pieces, and must come with so many bytes a second on the whole."""

MOST_STORED = 4 * 2**30
"""Bytes of visitors' files on the disk, those on their way included."""

KEEP_SECONDS = 900
"""How long uploads and results stay on the server's disk."""

HANG_UP = {"connection": "close"}


class Bodies:
    """ASGI middleware: refuses bodies that are too large, come too slowly, or find no room on the disk.

    Args:
        folder: of the visitors' files.
    """

    def __init__(self, app: ASGIApp, folder: Path):
        self.app, self.folder, self.arriving = app, folder, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = 0
        try:
            if scope["type"] == "http":
                length = await self._admitted(scope)
                receive = _in_time(receive, length)
            self.arriving += length
            try:
                await self.app(scope, receive, send)
            finally:
                self.arriving -= length
        except HTTPException as refusal:
            answer = PlainTextResponse(refusal.detail, refusal.status_code, HANG_UP)
            await answer(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody waits for an answer

    async def _admitted(self, scope: Scope) -> int:
        """The length of a body. Raises HTTPException if it is refused."""
        headers, upload = Headers(scope=scope), scope["path"].endswith("/upload")
        if "transfer-encoding" in headers:
            raise HTTPException(411, "Say how long the request is")
        length, most = int(headers.get("content-length", 0)), LARGEST_UPLOAD if upload else LARGEST_REQUEST
        if length > most:
            raise HTTPException(413, f"A request may have {most // 2**20} MiB here, not {length / 2**20:.1f}")
        if upload and await asyncio.to_thread(self._stored) + self.arriving + length > MOST_STORED:
            raise HTTPException(503, "There is no room for more files at the moment: try again in some minutes")
        return length

    def _stored(self) -> int:
        """Bytes in the folder. Deletes old uploads that broke off: they lie at its top, and Gradio forgets them."""
        stored = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    if path.parent == self.folder and status.st_mtime < time.time() - KEEP_SECONDS:
                        path.unlink()
                    else:
                        stored += status.st_size
        return stored


def _in_time(receive: Receive, length: int) -> Receive:
    """The same, but a body that comes too slowly raises HTTPException."""
    now = asyncio.get_running_loop().time
    end, coming = now() + PAUSE_SECONDS + length / SLOWEST, True

    async def impatient() -> Message:
        nonlocal coming
        if not coming:  # waits for the end of the connection, which may take its time
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), min(PAUSE_SECONDS, end - now()))
        except TimeoutError as error:
            raise HTTPException(408, "The request came too slowly", HANG_UP) from error
        coming = message.get("more_body", False)
        return message

    return impatient


def share_queue(queue: Any) -> None:
    """Make a Gradio queue refuse an address that has as many requests waiting as one may have."""
    push = queue.push

    async def push_unless_greedy(body: Any, request: Any, username: str | None) -> Any:
        waiting = (
            event.request.client for line in queue.event_queue_per_concurrency_id.values() for event in line.queue
        )
        if sum(client.host == request.client.host for client in waiting) >= WAITING_OF_ONE:
            return False, f"{WAITING_OF_ONE} requests of yours wait already", "queue_full"
        return await push(body=body, request=request, username=username)

    queue.push = push_unless_greedy


class FilesOnly(route_utils.GradioMultiPartParser):
    """Reads an upload. Gradio's own keeps parts that are no files in memory, however long they are."""

    def on_headers_finished(self) -> None:
        """Looks at what a part says of itself."""
        super().on_headers_finished()
        if self._current_part.file is None:
            raise MultiPartException("Only files can be uploaded")


route_utils.GradioMultiPartParser = FilesOnly  # type: ignore[misc]
