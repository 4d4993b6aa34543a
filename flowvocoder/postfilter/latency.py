"""Which iterations a stream runs for the delay that it may have. Plain data, no torch."""

from collections.abc import Callable

from flowvocoder.errors import ConfigError
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.settings import number
from flowvocoder.units import seconds

ROUNDS = {0: (2, 16), 1: (2, 12), 2: (2, 12), 3: (2, 12), 4: (2, 12), 7: (2, 12)}
"""Hops of delay and the frame-by-frame rounds that are best for it, over all bands and below 1 kHz, as measured in
docs/how-to/stream.md. More rounds over all bands raise PESQ further and smear pitch pulses."""

DEFAULT_HOPS = 4
"""Hops of delay of a stream that nothing else is said of."""


def with_delay(hops: int) -> PostfilterSettings:
    """The iterations of a stream whose post-filter may wait for so many hops."""
    rounds, low_rounds = ROUNDS[hops]
    return PostfilterSettings(rounds=rounds, low_rounds=low_rounds, look_ahead=hops)


def of_stream(voice: PostfilterSettings) -> PostfilterSettings:
    """The iterations of a stream that nothing else is said of: none where the voice has none.

    >>> of_stream(PostfilterSettings(4, 40)).look_ahead
    4
    """
    return with_delay(DEFAULT_HOPS) if voice.gl_iters else PostfilterSettings()


def delays(delay: Callable[[PostfilterSettings], int], sample_rate: int) -> dict[int, int]:
    """By hops of delay: milliseconds that a stream is behind its mel with the best iterations for it, rounded."""
    return {hops: round(1000 * seconds(delay(with_delay(hops)), sample_rate)) for hops in ROUNDS}


def within(latency_ms: float, delay: Callable[[PostfilterSettings], int], sample_rate: int) -> PostfilterSettings:
    """The best iterations for a latency.

    Args:
        latency_ms: from a mel frame to its samples, in whole milliseconds.
        delay: samples by which a stream of this voice is behind its mel with some iterations.

    Raises:
        ConfigError: shorter than the delay of the flow itself, or no number.
    """
    latency_ms = number("latency_ms", latency_ms)
    behind = delays(delay, sample_rate)
    fitting = [hops for hops, delay_ms in behind.items() if delay_ms <= latency_ms]
    if not fitting:
        least = min(behind.values())
        raise ConfigError(f"a latency of {latency_ms:g} ms is too short: this voice is {least} ms behind at least")
    return with_delay(max(fitting))
