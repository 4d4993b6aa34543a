"""Variational inference: a flow in place of a density that can be evaluated but not drawn from."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from flowvocoder.density.arrays import latent_of
from flowvocoder.density.builders import build
from flowvocoder.density.families import FAMILIES, Settings, settings_of
from flowvocoder.density.importance import Importance
from flowvocoder.density.learner import Learner
from flowvocoder.density.training import CHUNK, EVERY
from flowvocoder.errors import ConfigError, DensityError, TrainingError
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.density import standard_normal_log_prob
from flowvocoder.flows.pointwise import PointwiseLU
from flowvocoder.progress import progress as with_bar
from flowvocoder.threads import own_threads
from flowvocoder.units import ceil_div

LogDensity = Callable[[Tensor], Tensor]
"""Parameters (N, D) to log-densities (N,) in nats, without the constant; gradients go through it."""

TURNED = {"iaf": "maf", "maf": "iaf"}
"""A posterior's layers go from noise to parameters by `forward`, which in a density goes from data to noise."""

SLOW = ("maf", "cnf")
"""Families whose samples cost too much to fit a posterior by."""

DRAWS = 4000
"""Draws of an estimate, if no other number is given."""


class Posterior:
    """An approximation of a density by a flow, as `fit_posterior` gives it.

    Attributes:
        family: of the flow.
        dims: D.
        elbo: evidence lower bound in nats, the mean of log p - log q over fresh draws of q. It lies below the
            log-evidence by the Kullback-Leibler divergence of q from p.
        history: its estimates while fitting, one every 50 steps.
    """

    def __init__(self, flow: "_Generator", log_density: LogDensity, family: str, history: list[float]):
        self.family, self.dims, self.history = family, flow.dims, history
        self._flow, self._log_density = flow, log_density
        self.elbo = float(self._draws(DRAWS, 0)[1].mean())

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> np.ndarray:
        """Draws (n_samples, D) from the approximation.

        Args:
            random_state: the same number gives the same draws; None: others every time.

        Raises:
            DensityError: fewer than one.
        """
        return np.concatenate([x.cpu().numpy() for x, _ in self._pieces(n_samples, random_state)])

    def log_prob(self, parameters: Any) -> np.ndarray:
        """Log-density (N,) in nats of the approximation at parameters (N, D).

        Raises:
            DensityError: no such array, or a value that is not finite.
        """
        x = self._flow.tensor(latent_of(parameters, self.dims))
        with torch.inference_mode():
            return torch.cat([self._flow.log_prob(piece) for piece in x.split(CHUNK)]).double().cpu().numpy()

    def importance(self, n_samples: int = DRAWS, *, random_state: Any = 0) -> Importance:
        """Weights of fresh draws by the density itself: diagnostics of the approximation and better estimates.

        Raises:
            DensityError: fewer than one draw, or the density is NaN, or 0 everywhere.
        """
        return Importance.of(*self._draws(n_samples, random_state))

    @own_threads()
    def _draws(self, n_samples: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Draws (N, D) and their log p - log q (N,)."""
        drawn, ratios = [], []
        for x, log_q in self._pieces(n_samples, random_state):
            with torch.no_grad():
                ratios.append((_evaluate(self._log_density, x) - log_q).double().cpu().numpy())
            drawn.append(x.double().cpu().numpy())
        log_ratios = np.concatenate(ratios)
        if np.isnan(log_ratios).any() or not np.isfinite(log_ratios.max()):
            wrong = int((~np.isfinite(log_ratios)).sum())
            raise DensityError(f"log_density is not finite at {wrong} of {n_samples} draws")
        return np.concatenate(drawn), log_ratios

    @torch.no_grad()
    def _pieces(self, n_samples: int, random_state: Any) -> Iterator[tuple[Tensor, Tensor]]:
        if n_samples < 1:
            raise DensityError(f"n_samples must be at least 1, not {n_samples}")
        noise = check_random_state(random_state).standard_normal((n_samples, self.dims))
        return iter([self._flow.generate(piece) for piece in self._flow.tensor(noise).split(CHUNK)])


class _Generator(nn.Module):
    """A chain from noise to parameters. Its last layers are any affine map, so that every family has the Gaussians."""

    def __init__(self, chain: Chain, dims: int, location: np.ndarray, scale: np.ndarray):
        super().__init__()
        like = next(chain.parameters())
        self.dims, self.device, self.dtype = dims, like.device, like.dtype
        affine: list[Bijection] = [PointwiseLU(torch.eye(dims)), ActNorm(dims)]
        self.chain = Chain([*chain.layers, *affine]).to(like.device, like.dtype)
        self.register_buffer("location", self.tensor(location))
        self.register_buffer("scale", self.tensor(scale))

    location: Tensor
    scale: Tensor

    def generate(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (N, D) of noise (N, D), and their log-density (N,)."""
        noise = noise.unsqueeze(2)
        x, logdet = self.chain(noise, self._no_context(noise))
        log_q = standard_normal_log_prob(noise) - logdet - self.scale.log().sum()
        return x.squeeze(2) * self.scale + self.location, log_q

    def log_prob(self, parameters: Tensor) -> Tensor:
        """Log-density (N,) of parameters (N, D)."""
        x = ((parameters - self.location) / self.scale).unsqueeze(2)
        return self.generate(self.chain.inverse(x, self._no_context(x)).squeeze(2))[1]

    def tensor(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def _no_context(self, x: Tensor) -> Tensor:
        return x.new_empty(len(x), 0, 1)


@own_threads()
def fit_posterior(
    log_density: LogDensity,
    *,
    dims: int,
    family: str = "iaf",
    layers: int | None = None,
    hidden: int | None = None,
    location: Any = 0.0,
    scale: Any = 1.0,
    steps: int = 1000,
    batch: int = 256,
    lr: float | None = None,
    dtype: str = "float64",
    device: str = "cpu",
    progress: bool = True,
    seed: int = 0,
) -> Posterior:
    """Fits a flow to an unnormalised density by the evidence lower bound (Rezende and Mohamed 2015, arXiv:1505.05770).

    >>> log_density = lambda x: -0.5 * (x - 3.0).square().sum(1)
    >>> posterior = fit_posterior(log_density, dims=2, family="realnvp", layers=2, hidden=8, steps=200, lr=3e-2)
    >>> posterior.sample(5).shape, bool(posterior.importance().k_hat < 0.7)
    ((5, 2), True)

    Args:
        log_density: parameters, a tensor (N, D), to log-densities (N,) in nats; any constant may be missing.
        dims: D.
        family: a name of `FAMILIES`, but not `maf` or `cnf`, whose samples are slow.
        layers, hidden: sizes of the flow; None: the family's default.
        location, scale: about where the parameters lie and how wide they spread, a number or (D,) each.
        steps: steps of training.
        batch: draws a step.
        lr: largest learning rate; None: the family's default.
        dtype: `float32` or `float64`, of the computation and of the parameters that `log_density` is given.
        device: where it is done, `cpu` or `cuda`.
        progress: show a bar while fitting, on a terminal.
        seed: the fit is a function of it.

    Raises:
        ConfigError: an argument is not what it can be.
        DensityError: `log_density` does not give (N,) finite numbers with gradients.
        TrainingError: the bound became NaN or inf.
    """
    if family in SLOW:
        quick = ", ".join(name for name in FAMILIES if name not in SLOW)
        raise ConfigError(f"family {family} is slow to draw from: use one of {quick}")
    given = {"layers": layers, "hidden": hidden, "steps": steps, "batch": batch, "lr": lr, "dtype": dtype,
             "device": device, "progress": progress, "seed": seed}  # fmt: skip
    settings = settings_of({"family": family, **given})
    if settings.steps < 1:
        raise ConfigError("steps must be from 1 on, not 0")
    if type(dims) is not int or dims < 1:
        raise ConfigError(f"dims must be a whole number of at least 1, not {dims!r}")
    turned = dataclasses.replace(settings, family=TURNED.get(family, family))
    start = _wide("location", location, dims), _wide("scale", scale, dims)
    if (start[1] <= 0).any():
        raise ConfigError(f"scale must be above 0, not {start[1].min():g}")
    flow = _Generator(build(turned, dims, 0).flow, dims, *start)
    elbos = _train(flow, log_density, settings)
    history = list(with_bar(elbos, f"fit {family}", "look", ceil_div(steps, EVERY)) if progress else elbos)
    return Posterior(flow.eval(), log_density, family, history)


def _train(flow: _Generator, log_density: LogDensity, settings: Settings) -> Iterator[float]:
    """Raises the bound by reparameterised gradients; gives its mean over every 50 steps. Weights are averaged."""
    generator = torch.Generator(flow.device).manual_seed(settings.seed)
    learner = Learner(flow, settings.lr, settings.steps)
    bounds = []
    for step in range(1, settings.steps + 1):
        noise = torch.randn(settings.batch, flow.dims, generator=generator, device=flow.device, dtype=flow.dtype)
        parameters, log_q = learner.model.generate(noise)
        log_p = _evaluate(log_density, parameters)
        if not log_p.requires_grad:
            raise DensityError("log_density has no gradient: it must compute with torch, from the tensor it is given")
        if step == 1 and not bool(log_p.isfinite().all()):
            raise DensityError("log_density is not finite at draws around the given location: give another, or a scale")
        bound = (log_p - log_q).mean()
        learner.step(-bound)
        bounds.append(bound.detach())
        if step % EVERY == 0 or step == settings.steps:
            mean, bounds = float(torch.stack(bounds).mean()), []
            if not math.isfinite(mean):
                raise TrainingError(f"the fit diverged before step {step}: try a lower lr than {settings.lr:g}")
            yield mean
    flow.load_state_dict(learner.average.state_dict())


def _evaluate(log_density: LogDensity, parameters: Tensor) -> Tensor:
    values = log_density(parameters)
    if not isinstance(values, Tensor) or values.shape != (len(parameters),):
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise DensityError(f"log_density must give a tensor of shape ({len(parameters)},), not {given}")
    return values


def _wide(name: str, values: Any, dims: int) -> np.ndarray:
    """A number or (D,) as (D,)."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (dims,)) or not np.isfinite(array).all():
        raise ConfigError(f"{name} must be a finite number, or {dims} of them")
    return np.broadcast_to(array, (dims,))
