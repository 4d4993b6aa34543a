"""FloWaveNet: couplings at many scales, from two samples to 256 at a time."""

import dataclasses
from typing import TYPE_CHECKING

from flowvocoder.config import ModelConfig, as_published
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.registry import register_architecture, register_presets
from flowvocoder.settings import limited

if TYPE_CHECKING:
    from flowvocoder.flows.density import FlowVocoder


@register_architecture("flowavenet")
@dataclasses.dataclass(frozen=True)
class FloWaveNetConfig(ModelConfig):
    """Sizes of a FloWaveNet (Kim et al. 2018, arXiv:1811.02155)."""

    blocks: int = limited(8, 1, 16)  # scales, each with half the rate and twice the channels of the one before
    flows: int = limited(6, 1, 64)  # of each block
    split_every: int = limited(4, 1, 16)  # blocks after which half of the channels leave
    channels: int = limited(256, 1, 4096)  # of the couplings' WaveNets
    layers: int = limited(2, 1, 16)  # of each WaveNet

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        if mel.hop_length % 2**self.blocks:
            raise ConfigError(
                f"mel.hop_length {mel.hop_length} must be a multiple of {2**self.blocks}, 2**model.blocks"
            )
        if mel.n_mels % 2:
            raise ConfigError(f"mel.n_mels must be even, not {mel.n_mels}: each coupling sees every other half")

    def build(self, mel: MelSpec) -> "FlowVocoder":
        from flowvocoder.flows.actnorm import ActNorm
        from flowvocoder.flows.base import Bijection, Chain
        from flowvocoder.flows.coupling import AffineCoupling, HalfContext
        from flowvocoder.flows.density import FlowVocoder
        from flowvocoder.flows.encoders import SmoothUpsampler
        from flowvocoder.flows.multiscale import EarlyOut, Squeezed
        from flowvocoder.flows.wavenet import WaveNet

        def net(channels: int, context: int) -> WaveNet:
            return WaveNet(channels // 2, channels, context, self.channels, self.layers, rectified=True)

        def block(channels: int, context: int, number: int) -> Bijection:
            """Block `number` (from 1) on these channels, with all further blocks inside."""
            channels, context = 2 * channels, 2 * context
            layers: list[Bijection] = []
            for flow in range(self.flows):
                second = flow % 2 == 1  # halves of audio and context change their roles from flow to flow
                half = HalfContext(net(channels, context // 2), second)
                layers += [ActNorm(channels), AffineCoupling(channels, half, bound=None, exchange=second)]
            if number < self.blocks:
                if number % self.split_every:
                    layers.append(block(channels, context, number + 1))
                else:
                    # The half that leaves is normalised given the half that stays.
                    layers.append(AffineCoupling(channels, net(channels, context), bound=None, exchange=True))
                    layers.append(EarlyOut(channels // 2, block(channels // 2, context, number + 1)))
            return Squeezed(2, Chain(layers))

        return FlowVocoder(mel, SmoothUpsampler(mel, 1), block(1, mel.n_mels, 1), 1)


register_presets({"flowavenet": as_published(FloWaveNetConfig(), lr=1e-3, batch=2)})
