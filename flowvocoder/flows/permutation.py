"""A fixed order of the channels."""

import torch
from torch import Tensor

from flowvocoder.flows.base import Bijection, no_volume_change


class Permutation(Bijection):
    """Channel i of z is channel order[i] of x, log-det 0 (Dinh et al. 2017, arXiv:1605.08803).

    Args:
        order: (C,), a permutation of 0 ... C-1.
    """

    order: Tensor

    def __init__(self, order: Tensor):
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, self.order], no_volume_change(x)

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return z[:, torch.argsort(self.order)]
