"""What the chains of families start with."""

import pytest
import torch

from flowvocoder.density import FlowDensity
from flowvocoder.density.builders import SPREAD
from flowvocoder.flows.pointwise import PointwiseLU

NOTHING = torch.zeros(1, 0, 1)


@pytest.mark.parametrize("family", ["nsf-c", "nsf-ar"])
def test_splines_of_two_columns_start_with_narrow_bins_in_the_middle(family: str) -> None:
    for features, spread in ((2, SPREAD), (3, 1.0)):
        layer = FlowDensity(family, hidden=8).built(features).flow.layers[1]
        x = torch.randn(50, features, 1)
        assert torch.allclose(layer(x, NOTHING.expand(50, 0, 1))[0], x, atol=1e-5)
        sizes = layer.conditioner.end.bias.view(layer.transform.parameters, -1)[: layer.transform.bins]
        assert torch.allclose(sizes[0], sizes[-1]) and torch.allclose(sizes.exp().amax(0), torch.tensor(spread))


def test_spline_couplings_of_many_columns_start_in_random_orders() -> None:
    """What is not Gaussian in one column stays in one."""
    layers = FlowDensity("nsf-c", hidden=8).built(6).flow.layers[::2]
    orders = [layer(torch.arange(6.0)[None, :, None], NOTHING)[0].flatten() for layer in layers]
    assert all(isinstance(layer, PointwiseLU) and order.sort().values.equal(torch.arange(6.0))
               for layer, order in zip(layers, orders, strict=True))  # fmt: skip
    assert not orders[0].equal(orders[1])
    rotated = FlowDensity("nsf-c", hidden=8).built(2).flow.layers[0]
    assert rotated(torch.tensor([[[1.0], [0.0]]]), NOTHING)[0].abs().max() < 0.999
