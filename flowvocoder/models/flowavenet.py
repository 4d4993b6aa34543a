"""FloWaveNet: couplings at many scales, from two samples to 256 at a time."""

from torch import Tensor, nn

from flowvocoder.architectures import FloWaveNetConfig
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.multiscale import EarlyOut, Squeezed
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.encoders import SmoothUpsampler
from flowvocoder.models.flow_vocoder import FlowVocoder


class HalfContext(nn.Module):
    """A conditioner that sees one half of the context's channels."""

    def __init__(self, net: nn.Module, second: bool):
        super().__init__()
        self.net = net
        self.second = second

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(x, context.chunk(2, 1)[self.second])


class FloWaveNet(FlowVocoder):
    """FloWaveNet (Kim et al. 2018, arXiv:1811.02155).

    Args:
        spec: the mels it understands; 2 ** `config.blocks` divides `spec.hop_length`.
        config: sizes, as `flowvocoder.config.check` allows them.
    """

    def __init__(self, spec: MelSpec, config: FloWaveNetConfig):
        flow = _block(1, spec.n_mels, 1, config)
        super().__init__(spec, SmoothUpsampler(spec, 1), flow, 1)


def _block(channels: int, context: int, number: int, config: FloWaveNetConfig) -> Bijection:
    """Block `number` (from 1) on so many channels of audio and context, with all blocks behind it inside."""
    channels, context = 2 * channels, 2 * context
    layers: list[Bijection] = []
    for flow in range(config.flows):
        second = flow % 2 == 1  # halves of audio and context change their roles from flow to flow
        net = HalfContext(_net(channels, context // 2, config), second)
        layers += [ActNorm(channels), AffineCoupling(channels, net, bound=None, exchange=second)]
    if number < config.blocks:
        if number % config.split_every:
            layers.append(_block(channels, context, number + 1, config))
        else:
            # The half that leaves is normalised given the half that stays.
            layers.append(AffineCoupling(channels, _net(channels, context, config), bound=None, exchange=True))
            layers.append(EarlyOut(channels // 2, _block(channels // 2, context, number + 1, config)))
    return Squeezed(2, Chain(layers))


def _net(channels: int, context: int, config: FloWaveNetConfig) -> WaveNet:
    return WaveNet(channels // 2, channels, context, config.channels, config.layers, rectified=True)
