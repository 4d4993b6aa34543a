"""Masked autoregressive layers (Papamakarios et al. 2017, arXiv:1705.07057), and a layer the other way round."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.flows.base import Bijection
from flowvocoder.flows.elementwise import Elementwise, parameters_of
from flowvocoder.flows.perceptron import Activation


class MaskedLinear(nn.Linear):
    """A linear layer whose outputs each see only some inputs.

    Args:
        mask: (outputs, inputs), whether one sees the other.
    """

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedPerceptron(nn.Module):
    """A residual network whose outputs for channel d see the channels before d and the context (MADE, Germain et al.
    2015, arXiv:1502.03509). The last layer starts at zero.

    Args:
        channels: D.
        outputs: of every channel.
        context: channels of the context, 0 for none.
        hidden: channels inside. Those of degree m see the first m channels; all degrees are equally frequent.
        blocks: residual layers between the first layer and the last.
        activation: of the hidden channels.

    Shape:
        x: (B, D, N), context: (B, context, N) -> (B, outputs * D, N), all channels' first output first
    """

    def __init__(
        self, channels: int, outputs: int, context: int, hidden: int, blocks: int = 2, activation: Activation = F.silu
    ):
        super().__init__()
        self.activation = activation
        seen = torch.cat([torch.arange(1, channels + 1), torch.zeros(context, dtype=torch.long)])
        lowest = 0 if context or channels == 1 else 1  # one of degree 0 knows nothing but the context
        degrees = lowest + torch.arange(hidden) % max(channels - lowest, 1)
        made = torch.arange(1, channels + 1).repeat(outputs)
        self.start = MaskedLinear(degrees[:, None] >= seen)
        self.blocks = nn.ModuleList(MaskedLinear(degrees[:, None] >= degrees) for _ in range(blocks))
        self.end = MaskedLinear(made[:, None] > degrees)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.start(torch.cat([x, context], 1).transpose(1, 2))
        for block in self.blocks:
            h = h + block(self.activation(h))
        out: Tensor = self.end(self.activation(h))
        return out.transpose(1, 2)


class Autoregressive(Bijection):
    """Channel d of z is a function of channel d of x, chosen by the channels before it: z_d = transform(x_d; x_<d).

    `forward` runs the network once, `inverse` once a channel. With an affine transform this is MAF; turned round by
    `Inverse` it is IAF (Kingma et al. 2016, arXiv:1606.04934); with a spline it is the autoregressive form of NSF
    (arXiv:1906.04032).

    Args:
        conditioner: (x: (B, D, N), context) -> (B, P * D, N), the P parameters one after another. Those of channel d
            see no channel from d on.
        transform: the function, with P parameters.
    """

    cheap_inverse = False

    def __init__(self, conditioner: nn.Module, transform: Elementwise):
        super().__init__()
        self.conditioner = conditioner
        self.transform = transform

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, per_column = self.log_det_per_column(x, context)
        return z, per_column.sum(1)

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.transform.forward(x, self._parameters_given(x, context))
        return z, log_slope.sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for channel in range(z.shape[1]):
            one = slice(channel, channel + 1)
            new = self.transform.inverse(z[:, one], self._parameters_given(x, context)[:, :, one])
            x = torch.cat([x[:, :channel], new, x[:, channel + 1 :]], 1)
        return x

    def _parameters_given(self, x: Tensor, context: Tensor) -> Tensor:
        return parameters_of(self.conditioner(x, context).to(x.dtype), self.transform.parameters)

    def extra_repr(self) -> str:
        return str(self.transform)


class Inverse(Bijection):
    """A layer the other way round: what was its `inverse` is `forward`, and costs and is as exact as that.

    Args:
        layer: any whose shape is kept, with an `inverse` that gradients go through.
    """

    cheap_inverse = False

    def __init__(self, layer: Bijection):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z = self.layer.inverse(x, context)
        return z, -self.layer(z, context)[1]

    def log_det_per_column(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z = self.layer.inverse(x, context)
        return z, -self.layer.log_det_per_column(z, context)[1]

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        x: Tensor = self.layer(z, context)[0]
        return x
