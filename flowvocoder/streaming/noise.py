"""Noise by position: what a sample is made of does not depend on how long the signal is, or what it is batched with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowvocoder.errors import ConfigError
from flowvocoder.units import ceil_div

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

    def draw(self, frames: int) -> Tensor:
        """The noise of the next frames: (B, frames * rate, M)."""
        # PyTorch draws normal numbers by sixteens and draws a last incomplete sixteen anew, so only whole ones give the
        # same numbers whether they are drawn at once or in parts.
        samples = self._rate * self._block
        whole = ceil_div(samples, 16) * 16
        drawn = [torch.randn(frames, whole, generator=generator) for generator in self._generators]
        return torch.stack(drawn)[..., :samples].reshape(len(drawn), frames * self._rate, self._block)


def item_seeds(seeds: Seeds, items: int) -> list[int]:
    """The seed of every item; ConfigError if there are not as many."""
    if isinstance(seeds, int):
        return [(seeds + item) % 2**63 for item in range(items)]
    if seeds is None or isinstance(seeds, torch.Generator):
        return torch.randint(2**62, (items,), generator=seeds).tolist()
    if len(seeds) != items:
        raise ConfigError(f"{len(seeds)} seeds for {items} items")
    return list(seeds)
