"""How large a request's body may be, and how slowly it may come."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

LARGEST_FILE = 64 * 2**20
"""Bytes in one upload: a minute of 24-bit stereo at 176.4 kHz is 61 MiB."""

LONGEST = 60.0
"""Seconds of audio in one request."""

WAITING, WAITING_OF_ONE = 64, 16
"""Requests that may wait, of all visitors and of one address. Further ones hear that the server is busy."""

PAUSE_SECONDS, SLOWEST = 10.0, 64 * 2**10
"""A body may pause for so long between two pieces, and must come with so many bytes a second on the whole."""

HANG_UP = {"connection": "close"}


def length_of(headers: Headers, most: int) -> int:
    """The length that a request states. Raises HTTPException: it states none, or more than `most` bytes."""
    if "transfer-encoding" in headers:
        raise HTTPException(411, "Say how long the request is", HANG_UP)
    length = int(headers.get("content-length", 0))
    if length and not most:
        raise HTTPException(413, "Such a request has no body", HANG_UP)
    if length > most:
        said = f"A request may have {most // 2**20} MiB here, not {length / 2**20:.1f}"
        raise HTTPException(413, said, HANG_UP)
    return length


def in_time(receive: Receive, length: int) -> Receive:
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
