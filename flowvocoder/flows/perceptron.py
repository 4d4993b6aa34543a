"""Conditioners for vectors: networks that see every column by itself."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class Perceptron(nn.Module):
    """A residual network over channels, the same for every column: (B, inputs, N) -> (B, outputs, N).

    The last layer starts at zero, so a fresh coupling is the identity.

    Args:
        inputs, outputs: channels; `inputs` may be 0.
        context: channels of the context, 0 for none.
        hidden: channels inside.
        blocks: residual layers between the first layer and the last.
        activation: of the hidden channels.

    Shape:
        x: (B, inputs, N), context: (B, context, N) -> (B, outputs, N)
    """

    def __init__(
        self, inputs: int, outputs: int, context: int, hidden: int, blocks: int = 2, activation: Activation = F.silu
    ):
        super().__init__()
        self.activation = activation
        self.start = nn.Linear(max(inputs + context, 1), hidden)  # a constant zero where there is nothing to see
        self.blocks = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.end = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        seen = torch.cat([x, context], 1) if context.shape[1] else x
        h = self.start((seen if seen.shape[1] else x.new_zeros(len(x), 1, x.shape[2])).transpose(1, 2))
        for block in self.blocks:
            h = h + block(self.activation(h))
        out: Tensor = self.end(self.activation(h))
        return out.transpose(1, 2)


class FromContext(nn.Module):
    """Parameters of a layer: numbers of its own, to which a network adds what it makes of the context.

    Args:
        start: (P,), the numbers to start from.
        context: channels of the context; 0: there is no network.
        hidden: width of the network.

    Shape:
        context: (B, D, N) -> (B, P, N); (1, P, 1) without a network
    """

    def __init__(self, start: Tensor, context: int, hidden: int):
        super().__init__()
        self.numbers = nn.Parameter(start[None, :, None])
        self.net = Perceptron(0, len(start), context, hidden, blocks=1) if context else None

    def forward(self, context: Tensor) -> Tensor:
        return self.numbers if self.net is None else self.numbers + self.net(context[:, :0], context)
