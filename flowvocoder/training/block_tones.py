"""Block-rate tones: what samples repeat in every block."""

import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.units import PCM16_STEP

NEIGHBOURS = 5
"""Bands, and blocks, over which the level is taken."""


class BlockTonePower(nn.Module):
    """The share of a sample's power, whitened, that is the same in every block.

    Samples that ignore their noise have the least spectral distance to one recording. The easiest way there is a
    constant added to every block. It is heard as tones at multiples of the block rate. Speech has none of it: the mean
    of a coefficient of its lapped transform, over blocks, is zero.

    Args:
        block: samples, the flow's M.

    Shape:
        samples, recorded: (B, T) -> scalar: 1 if all blocks are the same, 1 / N for noise in N blocks

    Raises:
        ConfigError: the block is odd.
    """

    def __init__(self, block: int):
        super().__init__()
        if block % 2:
            raise ConfigError(f"losses.block_tones needs a flow of blocks of an even number of samples, not {block}")
        self.transform = LappedTransform(block)

    def forward(self, samples: Tensor, recorded: Tensor) -> Tensor:
        length = recorded.shape[1] // self.transform.block * self.transform.block
        ours, theirs = (self.transform(x[:, None, :length], x)[0] for x in (samples, recorded))
        power = 0.5 * (ours.detach().square() + theirs.square())
        level = F.avg_pool2d(power, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False) + PCM16_STEP**2 / 12
        return (ours / level.sqrt()).mean(2).square().mean()
