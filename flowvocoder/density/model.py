"""Models of vectors with the standardisation of rows and contexts around them."""

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from flowvocoder.density.arrays import Standard
from flowvocoder.errors import ConfigError
from flowvocoder.flows.base import Chain
from flowvocoder.flows.density import standard_normal_log_prob


class Standardised(nn.Module):
    """What an estimator fits, with all that a file must hold in its state dict. Standardisation is in float64.

    Its methods take rows and contexts as `inputs` gives them, x (N, C, T) and (N, K, 1).

    Args:
        event: (C, T), the shape of a row in the model.
        context: K.

    Attributes:
        latent_features, noise: numbers in a row's latent, and in the standard normal noise a new row is made of.
    """

    mean: Tensor
    scale: Tensor
    context_mean: Tensor
    context_scale: Tensor

    def __init__(self, event: tuple[int, int], context: int):
        super().__init__()
        self.event = event
        self.context_features = context
        self.latent_features = self.noise = event[0] * event[1]

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        """(N,), what training makes large; in `eval` mode, what held-out rows judge by."""
        raise NotImplementedError

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """Log-density (N,) in nats of the rows that `inputs` was given."""
        raise NotImplementedError

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        """The latent (N, M)."""
        raise NotImplementedError

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        """Rows (N, D) in float64 of latents z (N, M)."""
        raise NotImplementedError

    def draw(self, noise: Tensor, context: Tensor) -> Tensor:
        """New rows (N, D) in float64 of standard normal noise (N, `noise`)."""
        return self.decode(noise, context)

    def placed(self, device: str, dtype: str) -> Self:
        """Itself on a device in a precision, in `eval` mode. Raises ConfigError if this machine has not the device."""
        try:
            self.to(device, getattr(torch, dtype))
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {device}: not usable here ({str(error).splitlines()[0]})") from error
        like = next(self.parameters())
        self.device, self.dtype = like.device, like.dtype
        for name, size in (("", self.event[0] * self.event[1]), ("context_", self.context_features)):
            self.register_buffer(f"{name}mean", torch.zeros(size, dtype=torch.float64, device=self.device))
            self.register_buffer(f"{name}scale", torch.ones(size, dtype=torch.float64, device=self.device))
        return self.eval()

    def standardise_by(self, rows: Standard, context: Standard) -> None:
        """Sets what rows and contexts are standardised by."""
        for name, values in zip(("mean", "scale", "context_mean", "context_scale"), (*rows, *context), strict=True):
            self.get_buffer(name).copy_(torch.as_tensor(values))

    def inputs(self, rows: np.ndarray, context: np.ndarray) -> tuple[Tensor, Tensor]:
        """Rows (N, D) and contexts (N, K) as the model takes them."""
        x = (self._tensor(rows) - self.mean) / self.scale
        return x.to(self.dtype).unflatten(1, self.event), self.context(context)

    def context(self, context: np.ndarray) -> Tensor:
        """Contexts (N, K) as the model takes them."""
        return ((self._tensor(context) - self.context_mean) / self.context_scale).to(self.dtype).unsqueeze(2)

    def numbers(self, values: np.ndarray) -> Tensor:
        """Values in the model's precision and on its device."""
        return self._tensor(values).to(self.dtype)

    def rows(self, x: Tensor) -> Tensor:
        """Rows (N, D) in float64 of standardised x (N, C, T): the inverse of `inputs`."""
        return x.flatten(1).double() * self.scale + self.mean

    @property
    def log_det(self) -> float:
        """Log-determinant of the standardisation in nats."""
        return -float(self.scale.log().sum())

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(
            np.ascontiguousarray(values), dtype=torch.float64, device=self.device
        )  # a copy: some arrays are read-only


class StandardisedFlow(Standardised):
    """A chain of layers.

    Args:
        flow: of standardised rows, (N, C, T) given (N, K, 1).
        event, context: as `Standardised`.
    """

    def __init__(self, flow: Chain, event: tuple[int, int], context: int):
        super().__init__(event, context)
        self.flow = flow

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        return log_prob(self.flow, x, context)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return log_prob(self.flow, x, context).double() + self.log_det

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        z: Tensor = self.flow(x, context)[0]
        return z.flatten(1)

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        return self.rows(self.flow.inverse(z.unflatten(1, self.event), context))


def log_prob(flow: nn.Module, x: Tensor, context: Tensor) -> Tensor:
    """Log-density (N,) in nats of standardised x (N, C, T) given context (N, K, 1)."""
    z, logdet = flow(x, context)
    return standard_normal_log_prob(z) + logdet
