"""A chain of layers with the standardisation of rows and contexts around it."""

import numpy as np
import torch
from torch import Tensor, nn

from flowvocoder.density.arrays import Standard
from flowvocoder.flows.base import Chain
from flowvocoder.flows.density import standard_normal_log_prob


class StandardisedFlow(nn.Module):
    """What an estimator fits, with all that a file must hold in its state dict. Standardisation is in float64.

    Args:
        flow: of standardised rows, (N, C, T) given (N, K, 1).
        event: (C, T), the shape of a row in the flow.
        context: K.
    """

    mean: Tensor
    scale: Tensor
    context_mean: Tensor
    context_scale: Tensor

    def __init__(self, flow: Chain, event: tuple[int, int], context: int):
        super().__init__()
        self.flow = flow
        self.event = event
        like = next(flow.parameters())
        self.device, self.dtype = like.device, like.dtype
        for name, size in (("", event[0] * event[1]), ("context_", context)):
            self.register_buffer(f"{name}mean", torch.zeros(size, dtype=torch.float64, device=self.device))
            self.register_buffer(f"{name}scale", torch.ones(size, dtype=torch.float64, device=self.device))

    def standardise_by(self, rows: Standard, context: Standard) -> None:
        """Sets what rows and contexts are standardised by."""
        for name, values in zip(("mean", "scale", "context_mean", "context_scale"), (*rows, *context), strict=True):
            self.get_buffer(name).copy_(torch.as_tensor(values))

    def inputs(self, rows: np.ndarray, context: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows (N, D) and contexts (N, K) as the flow takes them."""
        x = (self._tensor(rows) - self.mean) / self.scale
        return x.to(self.dtype).unflatten(1, self.event), self.context(context)

    def context(self, context: np.ndarray) -> Tensor:
        """Contexts (N, K) as the flow takes them."""
        return ((self._tensor(context) - self.context_mean) / self.context_scale).to(self.dtype).unsqueeze(2)

    def latent(self, z: np.ndarray) -> Tensor:
        """Latents (N, D) as the flow takes them."""
        return self._tensor(z).to(self.dtype).unflatten(1, self.event)

    def weights(self, values: np.ndarray) -> Tensor:
        """Weights (N,) in the flow's precision."""
        return self._tensor(values).to(self.dtype)

    @property
    def log_det(self) -> float:
        """Log-determinant of the standardisation in nats."""
        return -float(self.scale.log().sum())

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """Log-density (N,) in nats of the rows that `inputs` was given."""
        return log_prob(self.flow, x, context).double() + self.log_det

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        """The latent (N, D) of what `inputs` gives."""
        z: Tensor = self.flow(x, context)[0]
        return z.flatten(1)

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        """Rows (N, D) in float64 of what `latent` gives."""
        x = self.flow.inverse(z, context).flatten(1)
        return x.double() * self.scale + self.mean

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)  # a copy: some arrays are read-only


def log_prob(flow: nn.Module, x: Tensor, context: Tensor) -> Tensor:
    """Log-density (N,) in nats of standardised x (N, C, T) given context (N, K, 1)."""
    z, logdet = flow(x, context)
    return standard_normal_log_prob(z) + logdet
