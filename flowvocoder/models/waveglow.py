"""WaveGlow and SqueezeWave: 1x1 convolutions and affine couplings on groups of samples, with early outputs."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from flowvocoder.config import ModelConfig, as_published, check_divides, check_odd
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.registry import register_architecture, register_presets
from flowvocoder.settings import limited

if TYPE_CHECKING:
    from torch import nn

    from flowvocoder.flows.base import Chain
    from flowvocoder.flows.density import FlowVocoder


@dataclasses.dataclass(frozen=True)
class GroupedConfig(ModelConfig):
    """What WaveGlow and SqueezeWave share: samples in groups, and early outputs."""

    group: int = limited(8, 2, 4096)  # samples that become channels
    flows: int = limited(12, 1, 256)  # number of pairs of 1x1 convolution and coupling
    early_every: int = limited(4, 1, 256)  # flows between early outputs
    early_size: int = limited(2, 0, 4096)  # channels that leave at each
    channels: int = limited(256, 1, 4096)  # of the couplings' conditioners
    layers: int = limited(8, 1, 16)  # of each conditioner
    kernel: int = limited(3, 1, 63)

    def stages(self) -> list[int]:
        """How many flows there are before each early output, and after the last."""
        return [min(self.early_every, self.flows - first) for first in range(0, self.flows, self.early_every)]

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        check_divides("group", self.group, mel)
        check_odd(self.kernel)
        left = self.group - self.early_size * (len(self.stages()) - 1)
        if self.early_size % 2 or self.group % 2 or left < 2:
            raise ConfigError(
                f"model.group {self.group} and model.early_size {self.early_size} must be even and leave at least"
                f" 2 channels to the last of {len(self.stages())} stages, not {left}"
            )

    def chain(self, net: Callable[[int, int], "nn.Module"], exchange: Iterator[bool]) -> "Chain":
        """(B, 1, T) <-> (B, group, T / group): stages of flows, between which `early_size` channels leave.

        Args:
            net: makes a coupling's conditioner from its numbers of inputs and outputs.
            exchange: for one coupling after the other, whether its second half decides about the first.
        """
        from flowvocoder.flows.base import Bijection, Chain
        from flowvocoder.flows.coupling import AffineCoupling
        from flowvocoder.flows.multiscale import EarlyOut, Squeeze
        from flowvocoder.flows.pointwise import PointwiseMatrix

        def stage(channels: int, stages: Sequence[int]) -> list[Bijection]:
            layers: list[Bijection] = []
            for _ in range(stages[0]):
                layers.append(PointwiseMatrix(channels))
                conditioner = net(channels // 2, channels)
                layers.append(AffineCoupling(channels, conditioner, bound=None, exchange=next(exchange)))
            if stages[1:]:
                layers.append(EarlyOut(self.early_size, Chain(stage(channels - self.early_size, stages[1:]))))
            return layers

        return Chain([Squeeze(self.group), *stage(self.group, self.stages())])


@register_architecture("waveglow")
@dataclasses.dataclass(frozen=True)
class WaveGlowConfig(GroupedConfig):
    """Sizes of a WaveGlow (Prenger et al. 2018, arXiv:1811.00002)."""

    window: int = limited(1024, 1, 65536)  # samples, taps of the mel's transposed convolution
    alternate: bool = False  # every second coupling exchanges the halves' roles, as the oldest checkpoints do

    def check(self, mel: MelSpec) -> None:
        super().check(mel)
        if self.window < mel.hop_length:
            raise ConfigError(f"model.window {self.window} must be at least mel.hop_length {mel.hop_length}")

    def build(self, mel: MelSpec) -> "FlowVocoder":
        from flowvocoder.flows.density import FlowVocoder
        from flowvocoder.flows.encoders import TransposedUpsampler
        from flowvocoder.flows.wavenet import WaveNet

        def net(inputs: int, outputs: int) -> "nn.Module":
            return WaveNet(inputs, outputs, mel.n_mels * self.group, self.channels, self.layers, self.kernel)

        flow = self.chain(net, itertools.cycle([False, self.alternate]))
        return FlowVocoder(mel, TransposedUpsampler(mel, self.window, self.group), flow, self.group)


@register_architecture("squeezewave")
@dataclasses.dataclass(frozen=True)
class SqueezeWaveConfig(GroupedConfig):
    """Sizes of a SqueezeWave (Zhai et al. 2020, arXiv:2001.05685)."""

    group: int = limited(128, 2, 4096)
    early_every: int = limited(2, 1, 256)
    early_size: int = limited(16, 0, 4096)
    channels: int = limited(128, 1, 4096)

    def build(self, mel: MelSpec) -> "FlowVocoder":
        from flowvocoder.flows.density import FlowVocoder
        from flowvocoder.flows.encoders import Repeat
        from flowvocoder.flows.separable import SeparableNet

        def net(inputs: int, outputs: int) -> "nn.Module":
            return SeparableNet(inputs, outputs, mel.n_mels, self.channels, self.layers, self.kernel)

        flow = self.chain(net, itertools.repeat(False))
        return FlowVocoder(mel, Repeat(mel.hop_length // self.group), flow, self.group)


register_presets(
    {f"waveglow-{c}": as_published(WaveGlowConfig(channels=c), lr=1e-4, batch=24) for c in (256, 512)}
    | {
        f"squeezewave-{group}-{c}": as_published(SqueezeWaveConfig(group=group, channels=c), lr=4e-4, batch=96)
        for group in (128, 256)
        for c in (128, 256)
    }
)
