"""Noise by position: what a sample is made of does not depend on how long the signal is, or what it is batched with."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import dequantise
from flowvocoder.settings import whole
from flowvocoder.units import PCM16_STEP, ceil_div

Seeds = int | Sequence[int] | torch.Generator | None
"""Where noise comes from. One seed is that of the first item of a batch, and its successors those of the others. It may
also be one seed for each item, a CPU generator to draw them from, or None for PyTorch's global generator."""


class NoiseSource:
    """Standard normal noise, frame after frame, a stream of its own for every item.

    Item i of a batch under seed s has what it has alone under seed s + i. Always drawn on the CPU, in float32, so that
    a seed means the same on every device.

    Args:
        seeds: where the noise of each item comes from.
        items: B.
        rate: blocks a frame.
        block: samples a block, M.
    """

    def __init__(self, seeds: Seeds, items: int, rate: int, block: int):
        self._generators = [torch.Generator().manual_seed(seed) for seed in item_seeds(seeds, items)]
        self._rate, self._block = rate, block

    def draw(self, frames: int, scale: float = 1.0, pinned: bool = False) -> Tensor:
        """The noise of the next frames times `scale`: (B, frames * rate, M).

        Args:
            pinned: in memory that a GPU copies from while the CPU goes on.
        """
        # PyTorch draws normal numbers by sixteens and draws a last incomplete sixteen anew, so only whole ones give the
        # same numbers whether they are drawn at once or in parts.
        samples = self._rate * self._block
        rounded = ceil_div(samples, 16) * 16
        shape = len(self._generators), frames, rounded
        drawn = torch.empty(shape, dtype=torch.float32, device="cpu", pin_memory=pinned)
        for item, generator in zip(drawn, self._generators, strict=True):
            item.normal_(generator=generator)
        return drawn.mul_(scale)[..., :samples].reshape(len(drawn), frames * self._rate, self._block)


def item_seeds(seeds: Seeds, items: int) -> list[int]:
    """The seed of every item. Raises ConfigError for what is no seed, or if there are not as many as items."""
    if seeds is None or isinstance(seeds, torch.Generator):
        if seeds is not None and seeds.device.type != "cpu":
            raise ConfigError(f"the generator is on {seeds.device}: seeds are drawn from one on the CPU")
        return torch.randint(2**62, (items,), generator=seeds, device="cpu").tolist()
    if np.ndim(seeds) == 0:
        given = [whole("seed", seeds) + item for item in range(items)]
    else:
        given = [whole("seed", seed) for seed in seeds]  # type: ignore[union-attr]
    if len(given) != items:
        raise ConfigError(f"{len(given)} seeds for {items} items")
    return [seed % 2**63 for seed in given]


def dequantised(audio: Tensor, seed: Seeds) -> Tensor:
    """16-bit audio (B, T) with uniform noise of one step, drawn on the CPU: the same in every precision."""
    drawn = zip(audio.cpu().float(), item_seeds(seed, len(audio)), strict=True)
    noisy = [dequantise(one, PCM16_STEP, torch.Generator().manual_seed(number)) for one, number in drawn]
    return torch.stack(noisy).to(audio)
