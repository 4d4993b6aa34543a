"""The noise that PyTorch draws from a seed, in NumPy."""

import secrets
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import ConfigError
from flowvocoder.settings import whole
from flowvocoder.units import ceil_div

Floats = npt.NDArray[np.float32]


class NoiseSource:
    """What `flowvocoder.streaming.noise.NoiseSource` draws, to float32's rounding.

    PyTorch's generator is the Mersenne Twister (Matsumoto and Nishimura 1998), seeded by the lower 32 bits. Its normal
    numbers are those of Box and Muller (1958), from sixteen uniform ones at a time of 24 bits each.

    Args:
        seeds: one number, whose successors are those of the other items, one an item, or None for any.
        items: B.
        rate: blocks a frame.
        block: samples a block, M.
    """

    def __init__(self, seeds: int | Sequence[int] | None, items: int, rate: int, block: int):
        if seeds is None:
            given = [secrets.randbits(62) for _ in range(items)]
        elif np.ndim(seeds) == 0:
            given = [whole("seed", seeds) + item for item in range(items)]
        else:
            given = [whole("seed", seed) for seed in seeds]  # type: ignore[union-attr]
        if len(given) != items:
            raise ConfigError(f"{len(given)} seeds for {items} items")
        self._twisters = [np.random.RandomState(seed % 2**32) for seed in given]
        self._rate, self._block = rate, block

    def draw(self, frames: int) -> Floats:
        """The noise of the next frames: (B, M, frames * rate)."""
        samples = self._rate * self._block
        rounded = ceil_div(samples, 16) * 16
        drawn = np.stack([_normal(twister, frames * rounded) for twister in self._twisters])
        wanted = drawn.reshape(len(drawn), frames, rounded)[..., :samples]
        return np.ascontiguousarray(wanted.reshape(len(drawn), -1, self._block).swapaxes(1, 2))


def _normal(twister: np.random.RandomState, count: int) -> Floats:
    bits = twister.randint(0, 2**32, count, np.uint32) & 0xFFFFFF
    first, second = (bits.astype(np.float32) * np.float32(2.0**-24)).reshape(-1, 2, 8).swapaxes(0, 1)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), np.float32(2 * np.pi) * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
