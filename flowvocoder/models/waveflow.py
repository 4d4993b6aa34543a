"""WaveFlow: autoregression over a few rows of samples."""

import dataclasses
from typing import TYPE_CHECKING

from flowvocoder.config import ModelConfig, as_published, check_divides, check_odd
from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.registry import register_architecture, register_presets
from flowvocoder.settings import limited

if TYPE_CHECKING:
    from flowvocoder.flows.density import FlowVocoder


@register_architecture("waveflow")
@dataclasses.dataclass(frozen=True)
class WaveFlowConfig(ModelConfig):
    """Sizes of a WaveFlow (Ping et al. 2020, arXiv:1912.01219)."""

    rows: int = limited(16, 2, 256)  # samples that become rows, each predicted from the rows before it
    flows: int = limited(8, 1, 256)
    channels: int = limited(64, 1, 4096)  # of the couplings' WaveNets
    layers: int = limited(8, 1, 16)  # of each WaveNet; dilation 2**i over time, 1 over rows
    kernel: int = limited(3, 1, 63)  # in both directions
    bipartite: bool = True  # the second half of the flows reverses each half of the rows instead of all of them

    def check(self, mel: MelSpec) -> None:
        """Raises ConfigError for sizes that do not go together or with the mel."""
        check_divides("rows", self.rows, mel)
        check_odd(self.kernel)
        if self.bipartite and self.rows % 2:
            raise ConfigError(f"model.rows must be even where model.bipartite is true, not {self.rows}")

    def build(self, mel: MelSpec) -> "FlowVocoder":
        """The paper permutes the rows of audio and context between flows; here each flow has its own order instead,
        and rows stay where they are."""
        from flowvocoder.flows.base import Bijection, Chain
        from flowvocoder.flows.density import FlowVocoder
        from flowvocoder.flows.encoders import SmoothUpsampler
        from flowvocoder.flows.multiscale import Squeeze
        from flowvocoder.flows.rows import RowAutoregression, RowWaveNet

        layers: list[Bijection] = [Squeeze(self.rows)]
        for order in self.row_orders():
            layers.append(RowAutoregression(order, RowWaveNet(mel.n_mels, self.channels, self.layers, self.kernel)))
        return FlowVocoder(mel, SmoothUpsampler(mel, self.rows), Chain(layers), self.rows)

    def row_orders(self) -> list[list[int]]:
        """The order of the rows in each flow.

        After one flow all rows are reversed; in the second half of a bipartite model each half by itself (strategies a
        and b of the paper's section 3.4).
        """
        half = self.rows // 2
        order = list(range(self.rows))
        orders = []
        for flow in range(self.flows):
            orders.append(order)
            if self.bipartite and flow >= self.flows // 2:
                order = order[:half][::-1] + order[half:][::-1]
            else:
                order = order[::-1]
        return orders


register_presets({f"waveflow-{c}": as_published(WaveFlowConfig(channels=c), lr=2e-4, batch=8) for c in (64, 128)})
