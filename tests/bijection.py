"""The one test that every invertible layer goes through."""

import copy

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.density import FlowVocoder


def perturb(module: nn.Module, amount: float = 0.1, seed: int = 1) -> None:
    """Move all parameters away from their start: zero-initialised layers would pass every test that cancels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)


def assert_bijection(
    layer: Bijection,
    channels: int,
    length: int,
    context_channels: int,
    blocks: int,
    conditional: bool = True,
    scale: float = 1.0,
    outside_likelihood: tuple[str, ...] = (),
    local: bool = True,
) -> None:
    """Inverse both ways, log-det against the autograd Jacobian, gradients, context, save and load; in float64.

    Args:
        conditional: whether the layer uses its context.
        scale: standard deviation of the test signal.
        outside_likelihood: prefixes of parameters that the likelihood does not train.
        local: each column's log-det is that of its own block of the Jacobian. So it is where the Jacobian is block
            triangular, in time or in channels. A layer that mixes columns both ways (a lapped transform), or a chain
            of couplings that look ahead, has no such share of a column: only the sum is a claim then.
    """
    layer = copy.deepcopy(layer).double()
    perturb(layer)
    generator = torch.Generator().manual_seed(2)
    x = scale * torch.randn(2, channels, length, generator=generator, dtype=torch.float64)
    context = torch.randn(2, context_channels, blocks, generator=generator, dtype=torch.float64)

    z, logdet = layer(x, context)
    assert z.numel() == x.numel() and logdet.shape == (2,)
    assert torch.allclose(layer.inverse(z, context), x, rtol=0, atol=1e-9 * scale)
    noise = torch.randn(z.shape, generator=generator, dtype=torch.float64)
    assert torch.allclose(layer(layer.inverse(noise, context), context)[0], noise, rtol=0, atol=1e-9)

    assert_logdet(layer, x, context, local)
    other = torch.cat([x[:1], 3.0 * x[1:]])
    assert torch.allclose(layer(other, context)[1][0], logdet[0], rtol=0, atol=1e-9), (
        "an item's log-det depends on another item"
    )

    layer.zero_grad()
    z, logdet = layer(x.requires_grad_(), context)
    (0.5 * z.square().sum() - logdet.sum()).backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    for name, parameter in layer.named_parameters():
        if not name.startswith(outside_likelihood or ("\0",)):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"no gradient reaches {name}"

    changed = layer(x, context + 0.5)[0]
    assert torch.equal(changed, z) != conditional, "context matters where it should not, or not where it should"

    reloaded = copy.deepcopy(layer)
    perturb(reloaded, seed=3)
    reloaded.inverse(z.detach(), context)  # a cache filled now must not survive the loading
    reloaded.load_state_dict(layer.state_dict())
    assert torch.equal(reloaded(x, context)[0], layer(x, context)[0])
    assert torch.equal(reloaded.inverse(noise, context), layer.inverse(noise, context))


def assert_logdet(layer: Bijection, x: Tensor, context: Tensor, local: bool = True) -> None:
    """The log-determinant and, if `local`, each column's share of it, against the Jacobian."""
    z, logdet = layer(x, context)
    same, per_column = layer.log_det_per_column(x, context)
    assert torch.allclose(same, z, rtol=0, atol=1e-12)
    assert torch.allclose(per_column.sum(1), logdet, rtol=0, atol=1e-9)
    for item in range(len(x)):
        jacobian = _jacobian(layer, x[item], context[item])
        expected = torch.linalg.slogdet(jacobian).logabsdet
        assert torch.allclose(logdet[item], expected, rtol=0, atol=1e-8), (
            f"log-det {logdet[item]}, Jacobian says {expected}"
        )
        if local:
            blocks = _blocks_of_columns(jacobian, z.shape[1:], x.shape[1:], per_column.shape[1])
            expected = torch.linalg.slogdet(blocks).logabsdet
            assert torch.allclose(per_column[item], expected, rtol=0, atol=1e-8), "the log-det arises in other columns"


def _jacobian(layer: Bijection, x: Tensor, context: Tensor) -> Tensor:
    """Of an item: a batch of as many copies as z has values, each of which gives the gradient of one of them."""
    copies = x.detach().expand(x.numel(), *x.shape).clone().requires_grad_()
    z = layer(copies, context.expand(len(copies), *context.shape))[0].flatten(1)
    return torch.autograd.grad(z.diagonal().sum(), copies)[0].flatten(1)


def _blocks_of_columns(jacobian: Tensor, out: tuple[int, int], into: tuple[int, int], columns: int) -> Tensor:
    """The Jacobian's blocks from each column of x to the same one of z: (columns, size, size)."""
    whole = jacobian.view(out[0], columns, -1, into[0], columns, into[1] // columns)
    size = len(jacobian) // columns
    return torch.stack([whole[:, c, :, :, c].reshape(size, size) for c in range(columns)])


class FlowOnly(Bijection):
    """A whole model with its mel encoder, as a bijection in the audio given the mel."""

    def __init__(self, model: FlowVocoder):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.flow(x, self.model.encoder(context))

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return self.model.flow.inverse(z, self.model.encoder(context))

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.flow.log_det_per_column(x, self.model.encoder(context))
