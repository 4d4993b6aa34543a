"""How much one visitor may send, keep on the server's disk, and ask for at a time."""

import asyncio
import contextlib
import os
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
from starlette.types import ASGIApp, Receive, Scope, Send

from flowvocoder.web.bodies import HANG_UP, LARGEST_FILE, WAITING_OF_ONE, in_time, length_of

LARGEST_REQUEST, LARGEST_UPLOAD = 2**20, 4 * LARGEST_FILE
"""Bytes of a request's body: settings and names of files; the files themselves, of which each has a limit too."""

MOST_STORED = 4 * 2**30
"""Bytes of visitors' files on the disk, those on their way included."""

KEEP_SECONDS = 900
"""How long uploads and results stay on the server's disk."""


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
                receive = in_time(receive, length)
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
        length = length_of(headers, LARGEST_UPLOAD if upload else LARGEST_REQUEST)
        if upload and await asyncio.to_thread(self._stored) + self.arriving + length > MOST_STORED:
            raise HTTPException(503, "There is no room for more files at the moment: try again in some minutes")
        return length

    def _stored(self) -> int:
        """Bytes in the folder. Deletes what Gradio forgets: old uploads that broke off, which lie at its top, and old
        folders whose files it has deleted."""
        stored, old = 0, time.time() - KEEP_SECONDS
        for place, _, names in os.walk(self.folder, topdown=False):  # passes over folders that another walk deleted
            here = Path(place)
            for path in map(here.joinpath, names):
                with contextlib.suppress(FileNotFoundError):
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode):
                        if here == self.folder and status.st_mtime < old:
                            path.unlink()
                        else:
                            stored += status.st_size
            with contextlib.suppress(OSError):  # it is not empty
                if here != self.folder and here.lstat().st_mtime < old:
                    here.rmdir()
        return stored


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
