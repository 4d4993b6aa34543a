"""Backpropagation that keeps no activations: a flow can recompute its inputs from its outputs.

Gomez et al. 2017 (arXiv:1707.04585); for WaveGlow: Yeh's constant-memory training. Memory is that of one layer,
whatever the depth; the price is one more pass through each layer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def cascade(layers: Sequence[nn.Module], x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """The layers one after another, log-determinants added up."""
    logdet = x.new_zeros(x.shape[0])
    for layer in layers:
        x, layer_logdet = layer(x, context)
        logdet = logdet + layer_logdet
    return x, logdet


def forward_without_storing(layers: Sequence[nn.Module], x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """The layers one after another, as `cascade` runs them, with the same gradients up to rounding.

    Only the output is stored. Going back, each layer's input is made from its output by `inverse`, then the layer is
    run again with gradients. What the layers compute must not depend on anything drawn at random.

    Shape:
        x: (B, C, T), context: (B, D, N) -> z: (B, C, T), logdet: (B,)
    """
    parameters = [p for layer in layers for p in layer.parameters()]
    z, logdet = _Reversible.apply(tuple(layers), x, context, *parameters)
    return z, logdet


class _Reversible(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layers: tuple[nn.Module, ...], x: Tensor, context: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.layers = layers
        ctx.autocast = (
            x.device.type,
            torch.is_autocast_enabled(x.device.type),
            torch.get_autocast_dtype(x.device.type),
        )
        z, logdet = cascade(layers, x, context)
        ctx.save_for_backward(z, context)
        return z, logdet

    @staticmethod
    def backward(ctx: Any, z_grad: Tensor, logdet_grad: Tensor) -> tuple[Tensor | None, ...]:
        z, context = ctx.saved_tensors
        context_grad = torch.zeros_like(context)
        grads: list[Tensor | None] = []
        device, enabled, dtype = ctx.autocast
        for layer in reversed(ctx.layers):
            own = list(layer.parameters())
            with torch.autocast(device, dtype, enabled=enabled):
                with torch.no_grad():
                    x = layer.inverse(z, context)
                with torch.enable_grad():
                    inputs = [x.detach().requires_grad_(), context.detach().requires_grad_()]
                    outputs = layer(*inputs)
            needed = [*inputs, *(p for p in own if p.requires_grad)]
            # A volume-preserving layer's log-determinant is a constant.
            live = [(out, g) for out, g in zip(outputs, (z_grad, logdet_grad), strict=True) if out.requires_grad]
            results, their_grads = zip(*live, strict=True)
            found = iter(torch.autograd.grad(results, needed, their_grads, allow_unused=True))
            z_grad, layer_context_grad = _required(next(found)), next(found)
            if layer_context_grad is not None:
                context_grad = context_grad + layer_context_grad
            grads = [next(found) if p.requires_grad else None for p in own] + grads
            z = x
        return (None, z_grad, context_grad, *grads)


def _required(grad: Tensor | None) -> Tensor:
    assert grad is not None, "an invertible layer always depends on its input"
    return grad
