"""What a server lets its clients ask for. Plain data."""

import dataclasses

from flowvocoder.settings import check_limits, limited
from flowvocoder.web.bodies import LONGEST, WAITING, WAITING_OF_ONE

MOST_GL_ITERS, MOST_LOW_BAND_ITERS, MOST_TEMPERATURE = 64, 128, 10.0

LARGEST_JSON = 16 * 2**20
"""Bytes of a JSON body: a minute of 80 bands at 86 frames a second has 8 MB."""

MOST_HELD = 512 * 2**20
"""Bytes of the bodies of all requests that are at work or wait."""

LARGEST_MESSAGE = 2**20
"""Bytes of a websocket message: 38 s of 80 bands at 86 frames a second."""

IDLE_SECONDS = 60.0
"""A stream ends if no frames came in this time, or none of its audio was taken."""

STREAM_MINUTES = 60.0
"""Audio of one stream."""

MOST_CONNECTIONS = 512
"""Open at a time, and as many for the Wyoming protocol."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the operator sets.

    Attributes:
        workers: syntheses at a time.
        batch: requests that are synthesised together at most; on a CPU only short ones are.
        longest: seconds of audio in one request.
        waiting: requests that are at work or wait, and waiting_of_one: of one address.
        streams: at a time.
        rate: requests of one address in a minute; 0 for any number.
        timeout: seconds until a request is given up.
        grace: seconds for what was accepted, once the server is told to stop.

    Raises:
        ConfigError: a number outside of its limits.
    """

    workers: int = limited(1, 1, 256)
    batch: int = limited(1, 1, 256)
    longest: float = limited(LONGEST, 0.1, 1500.0)
    waiting: int = limited(WAITING, 1, 10_000)
    waiting_of_one: int = limited(WAITING_OF_ONE, 1, 10_000)
    streams: int = limited(32, 0, 10_000)
    rate: int = limited(0, 0, 1_000_000)
    timeout: float = limited(120.0, 0.1, 3600.0)
    grace: float = limited(120.0, 0.0, 3600.0)

    def __post_init__(self) -> None:
        check_limits("serve", self)
