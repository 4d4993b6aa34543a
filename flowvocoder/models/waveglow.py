"""WaveGlow and SqueezeWave: 1x1 convolutions and affine couplings on groups of samples, with early outputs."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from torch import nn

from flowvocoder.architectures import SqueezeWaveConfig, WaveGlowConfig
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.multiscale import EarlyOut, Squeeze
from flowvocoder.flows.pointwise import PointwiseMatrix
from flowvocoder.flows.separable import SeparableNet
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.encoders import Repeat, TransposedUpsampler
from flowvocoder.models.flow_vocoder import FlowVocoder


class WaveGlow(FlowVocoder):
    """WaveGlow (Prenger et al. 2018, arXiv:1811.00002).

    Args:
        spec: the mels it understands; `config.group` divides `spec.hop_length`.
        config: sizes, as `flowvocoder.config.check` allows them.
    """

    def __init__(self, spec: MelSpec, config: WaveGlowConfig):
        def net(inputs: int, outputs: int) -> nn.Module:
            context = spec.n_mels * config.group
            return WaveNet(inputs, outputs, context, config.channels, config.layers, config.kernel)

        exchange = itertools.cycle([False, config.alternate])
        flow = grouped_flow(config.group, config.early_size, config.stages(), net, exchange)
        super().__init__(spec, TransposedUpsampler(spec, config.window, config.group), flow, config.group)


class SqueezeWave(FlowVocoder):
    """SqueezeWave (Zhai et al. 2020, arXiv:2001.05685): WaveGlow with long groups and depthwise-separable layers.

    Args:
        spec: the mels it understands; `config.group` divides `spec.hop_length`.
        config: sizes, as `flowvocoder.config.check` allows them.
    """

    def __init__(self, spec: MelSpec, config: SqueezeWaveConfig):
        def net(inputs: int, outputs: int) -> nn.Module:
            return SeparableNet(inputs, outputs, spec.n_mels, config.channels, config.layers, config.kernel)

        flow = grouped_flow(config.group, config.early_size, config.stages(), net, itertools.repeat(False))
        super().__init__(spec, Repeat(spec.hop_length // config.group), flow, config.group)


def grouped_flow(
    group: int,
    early_size: int,
    stages: Sequence[int],
    net: Callable[[int, int], nn.Module],
    exchange: Iterator[bool],
) -> Chain:
    """(B, 1, T) <-> (B, group, T / group): stages of flows, between which `early_size` channels leave.

    Args:
        stages: number of flows in each stage.
        net: makes a coupling's conditioner from its numbers of inputs and outputs.
        exchange: for one coupling after the other, whether its second half decides about the first.
    """
    return Chain([Squeeze(group), *_stage(group, early_size, stages, net, exchange)])


def _stage(
    channels: int,
    early_size: int,
    stages: Sequence[int],
    net: Callable[[int, int], nn.Module],
    exchange: Iterator[bool],
) -> list[Bijection]:
    layers: list[Bijection] = []
    for _ in range(stages[0]):
        layers.append(PointwiseMatrix(channels))
        layers.append(AffineCoupling(channels, net(channels // 2, channels), bound=None, exchange=next(exchange)))
    if stages[1:]:
        rest = Chain(_stage(channels - early_size, early_size, stages[1:], net, exchange))
        layers.append(EarlyOut(early_size, rest))
    return layers
