"""Autoregression over the rows of folded audio, and its network (WaveFlow, Ping et al. 2020, arXiv:1912.01219)."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection

State: TypeAlias = list[Tensor]
"""What a `RowWaveNet` remembers of the rows it has seen: for each layer its last kernel - 1 input rows."""


class RowWaveNet(nn.Module):
    """A WaveNet over rows and time: causal over rows, dilated and non-causal over time.

    Rows may come all at once or a few at a time with the state handed on; the result is the same. The last layer
    starts at zero, so a fresh coupling is the identity.

    Args:
        context: channels of the context, D.
        channels: residual and skip channels.
        layers: number of gated layers; dilation 2**i over time in layer i, 1 over rows.
        kernel: taps in both directions, odd.

    Shape:
        x: (B, 1, rows, N), context: (B, D, rows, N) -> (B, 2, rows, N)
    """

    def __init__(self, context: int, channels: int, layers: int, kernel: int = 3):
        super().__init__()
        self.channels = channels
        self.kernel = kernel
        self.start = nn.Conv2d(1, channels, 1)
        self.context = nn.ModuleList(nn.Conv2d(context, 2 * channels, 1) for _ in range(layers))
        self.dilated = nn.ModuleList(
            nn.Conv2d(channels, 2 * channels, kernel, dilation=(1, 2**i), padding=(0, 2**i * (kernel - 1) // 2))
            for i in range(layers)
        )
        # The last layer feeds only the skip sum.
        self.mix = nn.ModuleList(
            nn.Conv2d(channels, 2 * channels if i < layers - 1 else channels, 1) for i in range(layers)
        )
        self.end = nn.Conv2d(channels, 2, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)  # type: ignore[arg-type]

    def before_the_first_row(self, x: Tensor) -> State:
        """The state to start with for rows like x (B, 1, rows, N)."""
        nothing = x.new_zeros(x.shape[0], self.channels, self.kernel - 1, x.shape[-1])
        return [nothing] * len(self.mix)

    def forward(self, x: Tensor, context: Tensor, state: State) -> tuple[Tensor, State]:
        """The result for these rows, and the state that the next ones need."""
        h = self.start(x)
        skip: Tensor | None = None
        seen: State = []
        layers = zip(self.context, self.dilated, self.mix, state, strict=True)
        for make_bias, dilated, mix, past in layers:
            reach = torch.cat([past.to(h.dtype), h], 2)
            seen.append(reach[:, :, reach.shape[2] - self.kernel + 1 :])
            filtered, gate = (dilated(reach) + make_bias(context)).chunk(2, 1)
            out = mix(torch.tanh(filtered) * torch.sigmoid(gate))
            if out.shape[1] > self.channels:
                h = h + out[:, : self.channels]
            new = out[:, -self.channels :]
            skip = new if skip is None else skip + new
        assert skip is not None
        return self.end(skip), seen


class RowAutoregression(Bijection):
    """Each row is scaled and shifted by what the conditioner makes of the rows before it; the first passes through.

    z_r = x_r * exp(s_r) + t_r with (s_r, t_r) a function of x_0 ... x_{r-1}: forward takes one pass, the inverse one
    step a row, each of which costs one row because the conditioner keeps its state.

    Args:
        order: the rows' numbers in the order of the autoregression; the rows themselves stay where they are.
        conditioner: as `RowWaveNet`.

    Shape:
        x, z: (B, H, N); context: (B, D * H, N), channel d * H + row, as `squeeze` makes it
    """

    cheap_inverse = False  # one step a row

    order: Tensor
    undo: Tensor

    def __init__(self, order: Sequence[int], conditioner: RowWaveNet):
        super().__init__()
        permutation = torch.tensor(order)
        self.register_buffer("order", permutation, persistent=False)
        self.register_buffer("undo", permutation.argsort(), persistent=False)
        self.conditioner = conditioner

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.log_det_per_column(x, context)
        return z, logdet.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        rows, context = self._in_order(x, context)
        s, t = self._scale_and_shift(rows[:, :-1], context)
        z = torch.cat([rows[:, :1], rows[:, 1:] * s.exp() + t], 1)
        return z[:, self.undo], s.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        rows, context = self._in_order(z, context)
        done = [rows[:, :1]]
        state = self.conditioner.before_the_first_row(rows[:, None])
        for row in range(1, rows.shape[1]):
            out, state = self.conditioner(done[-1][:, None], context[:, :, row : row + 1], state)
            s, t = out.to(rows.dtype).unbind(1)
            done.append((rows[:, row : row + 1] - t) * (-s).exp())
        return torch.cat(done, 1)[:, self.undo]

    def _in_order(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, self.order], context.unflatten(1, (-1, len(self.order)))[:, :, self.order]

    def _scale_and_shift(self, before: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """s and t (B, rows, N) of the rows after each of `before`; context starts with the first row of all."""
        x = before[:, None]
        out, _ = self.conditioner(x, context[:, :, 1:], self.conditioner.before_the_first_row(x))
        s, t = out.to(before.dtype).unbind(1)
        return s, t
