"""WaveFlow: autoregression over a few rows of samples."""

from flowvocoder.architectures import WaveFlowConfig
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.multiscale import Squeeze
from flowvocoder.flows.rows import RowAutoregression, RowWaveNet
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.encoders import SmoothUpsampler
from flowvocoder.models.flow_vocoder import FlowVocoder


class WaveFlow(FlowVocoder):
    """WaveFlow (Ping et al. 2020, arXiv:1912.01219).

    The paper permutes the rows of audio and context between flows; here each flow has its own order instead, and rows
    stay where they are.

    Args:
        spec: the mels it understands; `config.rows` divides `spec.hop_length`.
        config: sizes, as `flowvocoder.config.check` allows them.
    """

    def __init__(self, spec: MelSpec, config: WaveFlowConfig):
        layers: list[Bijection] = [Squeeze(config.rows)]
        for order in row_orders(config):
            net = RowWaveNet(spec.n_mels, config.channels, config.layers, config.kernel)
            layers.append(RowAutoregression(order, net))
        super().__init__(spec, SmoothUpsampler(spec, config.rows), Chain(layers), config.rows)


def row_orders(config: WaveFlowConfig) -> list[list[int]]:
    """The order of the rows in each flow: after one flow all of them are reversed, in the second half of a bipartite
    model each half by itself (strategies a and b of the paper's section 3.4)."""
    half = config.rows // 2
    order = list(range(config.rows))
    orders = []
    for flow in range(config.flows):
        orders.append(order)
        if config.bipartite and flow >= config.flows // 2:
            order = order[:half][::-1] + order[half:][::-1]
        else:
            order = order[::-1]
    return orders
