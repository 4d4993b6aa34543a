"""Generative models that are no flows: small ones, to set beside the flows."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from flowvocoder.density.builders import BUILDERS
from flowvocoder.density.distances import sliced_wasserstein
from flowvocoder.density.families import Settings, Sizes
from flowvocoder.density.model import Standardised
from flowvocoder.errors import DensityError
from flowvocoder.flows.autoregressive import MaskedPerceptron
from flowvocoder.flows.base import Chain
from flowvocoder.flows.perceptron import Perceptron

COMPONENTS = 8
"""Normals in a conditional of the autoregressive model."""

PENALTY = 1.0
"""Weight of the squared gradient of a GAN's critic at the data (R1)."""

RECONSTRUCTION = 10.0
"""Weight of the invertible autoencoder's squared reconstruction error."""

OFF_MANIFOLD = 0.1
"""Standard deviation of what an invertible autoencoder's latent leaves out."""


class VAE(Standardised):
    """p(x | z) and q(z | x) are normals whose means and deviations are networks'; p(z) is standard normal."""

    def __init__(self, sizes: Sizes, latent: int):
        super().__init__((sizes.features, 1), sizes.context)
        self.latent_features, self.noise = latent, latent + sizes.features
        self.encoder = _network(sizes, sizes.features, 2 * latent)
        self.decoder = _network(sizes, latent, 2 * sizes.features)

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        return self.bound(x, context, generator, 1)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """The evidence lower bound."""
        return self.weighted(x, context, 1)

    def weighted(self, x: Tensor, context: Tensor, draws: int) -> Tensor:
        """The importance-weighted bound in nats of the rows as given; the same draws at every call."""
        generator = torch.Generator(x.device).manual_seed(0)
        return self.bound(x, context, generator, draws).double() + self.log_det

    def bound(self, x: Tensor, context: Tensor, generator: torch.Generator, draws: int) -> Tensor:
        """log mean p(x, z) / q(z | x) over draws from q, (N,): below log p(x) in the mean, less so with more draws."""
        mean, scale = _normal(self.encoder(x, context))
        weights = []
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=generator, device=x.device, dtype=x.dtype)
            z = mean + scale * noise
            q = _log_normal(noise, torch.zeros_like(mean), torch.ones_like(scale)) - scale.log().flatten(1).sum(1)
            prior = _log_normal(z, torch.zeros_like(mean), torch.ones_like(scale))
            weights.append(_log_normal(x, *_normal(self.decoder(z, context))) + prior - q)
        return torch.stack(weights).logsumexp(0) - math.log(draws)

    def kl(self, x: Tensor, context: Tensor) -> Tensor:
        """KL(q(z_m | x) || p(z_m)) in nats, (N, M)."""
        mean, scale = _normal(self.encoder(x, context))
        return (0.5 * (mean.square() + scale.square() - 1) - scale.log()).flatten(1)

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        return _normal(self.encoder(x, context))[0].flatten(1)

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        return self.rows(_normal(self.decoder(z[:, :, None], context))[0])

    def draw(self, noise: Tensor, context: Tensor) -> Tensor:
        z, e = noise[:, :, None].split([self.latent_features, self.event[0]], 1)
        mean, scale = _normal(self.decoder(z, context))
        return self.rows(mean + scale * e)


class GAN(Standardised):
    """A generator against a critic: the non-saturating loss with the R1 penalty (arXiv:1801.04406).

    Both learn from one objective, in which each sees the other as a constant.
    """

    def __init__(self, sizes: Sizes, latent: int):
        super().__init__((sizes.features, 1), sizes.context)
        self.latent_features = self.noise = latent
        self.generator = _network(sizes, latent, sizes.features)
        self.critic = _network(sizes, sizes.features, 1)

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn((len(x), self.noise, 1), generator=generator, device=x.device, dtype=x.dtype)
        made = self.generator(noise, context)
        if not self.training:
            real, made = (torch.cat([rows, context], 1).flatten(1) for rows in (x, made))
            return -sliced_wasserstein(real, made).expand(len(x))
        frozen = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        fooled = functional_call(self.critic, frozen, (made, context))
        real = x.detach().requires_grad_()
        judged = self.critic(real, context)
        slope = torch.autograd.grad(judged.sum(), real, create_graph=True)[0].flatten(1).square().sum(1)
        told = F.softplus(-judged) + F.softplus(self.critic(made.detach(), context))
        return -(told + F.softplus(-fooled)).flatten() - 0.5 * PENALTY * slope

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        raise DensityError("a GAN has no likelihood: its generator only draws")

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        raise DensityError("a GAN has no encoder: its generator only draws")

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        return self.rows(self.generator(z[:, :, None], context))


class AutoregressiveModel(Standardised):
    """p(x) is the product of p(x_d | x_<d), each a mixture of normals with parameters by a masked network (MADE)."""

    def __init__(self, sizes: Sizes, latent: int):
        super().__init__((sizes.features, 1), sizes.context)
        self.noise = 2 * sizes.features
        self.net = MaskedPerceptron(sizes.features, 3 * COMPONENTS, sizes.context, sizes.hidden, sizes.layers)
        with torch.no_grad():  # components that start apart
            means = self.net.end.bias.view(3, COMPONENTS, sizes.features)[1]
            means.copy_(torch.linspace(-2, 2, COMPONENTS)[:, None].expand_as(means))

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        share, mean, scale = self._mixtures(x, context)
        each = -0.5 * ((x[:, None] - mean) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
        return (share + each).logsumexp(1).flatten(1).sum(1)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return self.objective(x, context, torch.default_generator).double() + self.log_det

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        raise DensityError("the autoregressive model has no latent")

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        raise DensityError("the autoregressive model has no latent")

    def draw(self, noise: Tensor, context: Tensor) -> Tensor:
        """One pass of the network a feature."""
        choice, e = noise[:, :, None].chunk(2, 1)
        chance = torch.special.ndtr(choice)
        x = torch.zeros_like(e)
        for d in range(self.event[0]):
            share, mean, scale = (p[:, :, d] for p in self._mixtures(x, context))
            chosen = (share.exp().cumsum(1) < chance[:, None, d]).sum(1, keepdim=True).clamp(max=COMPONENTS - 1)
            x[:, d] = (mean.gather(1, chosen) + scale.gather(1, chosen) * e[:, None, d])[:, 0]
        return self.rows(x)

    def _mixtures(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-shares, means and deviations, each (N, components, D, 1)."""
        share, mean, raw = self.net(x, context).unflatten(1, (3, COMPONENTS, -1)).unbind(1)
        return share.log_softmax(1), mean, _deviation(raw)


class InvertibleAutoencoder(Standardised):
    """A flow whose first M outputs are the latent and whose others are small: decoding sets them to zero.

    Its score is the exact density of the whole flow, in which what the latent leaves out is normal and `OFF_MANIFOLD`
    wide. Training adds the reconstruction error (in the manner of Brehmer and Cranmer 2020, arXiv:2003.13913).
    """

    def __init__(self, sizes: Sizes, latent: int):
        super().__init__((sizes.features, 1), sizes.context)
        self.latent_features, self.noise = latent, sizes.features
        self.flow = Chain(BUILDERS["realnvp"](sizes))

    def objective(self, x: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        z, nats = self._encoded(x, context)
        error = (self._decoded(z[:, : self.latent_features], context) - x).square().flatten(1).sum(1)
        return nats - RECONSTRUCTION * error

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return self._encoded(x, context)[1].double() + self.log_det

    def encode(self, x: Tensor, context: Tensor) -> Tensor:
        return self._encoded(x, context)[0][:, : self.latent_features].flatten(1)

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        return self.rows(self._decoded(z[:, :, None], context))

    def draw(self, noise: Tensor, context: Tensor) -> Tensor:
        return self.rows(self.flow.inverse(noise[:, :, None] * self._width(noise), context))

    def _encoded(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.flow(x, context)
        width = self._width(z)
        return z, _log_normal(z, torch.zeros_like(z), width.expand_as(z)) + logdet

    def _decoded(self, z: Tensor, context: Tensor) -> Tensor:
        return self.flow.inverse(F.pad(z, (0, 0, 0, self.event[0] - z.shape[1])), context)

    def _width(self, like: Tensor) -> Tensor:
        """Deviations (D, 1) of the flow's outputs."""
        width = torch.full((self.event[0], 1), OFF_MANIFOLD, device=like.device, dtype=like.dtype)
        width[: self.latent_features] = 1.0
        return width


NETWORKS: dict[str, Callable[[Sizes, int], Standardised]] = {
    "vae": VAE,
    "gan": GAN,
    "autoregressive": AutoregressiveModel,
    "invertible-ae": InvertibleAutoencoder,
}
"""The model of every name."""


def build_model(settings: Settings, features: int, context: int) -> Standardised:
    """A fresh model for D features given K; its start is a function of the seed.

    Raises:
        ConfigError: this machine has not the device.
        DensityError: an invertible autoencoder's latent is wider than a row.
    """
    latent = settings.latent or max(1 if settings.family == "invertible-ae" else 2, features // 2)
    if settings.family == "invertible-ae" and latent > features:
        raise DensityError(f"a latent of {latent} is wider than the {features} features of X")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        model = NETWORKS[settings.family](Sizes(features, context, settings.layers, settings.hidden), latent)
    return model.placed(settings.device, settings.dtype)


def _network(sizes: Sizes, inputs: int, outputs: int) -> Perceptron:
    """A perceptron whose last layer starts as others do: from zeros, a pair of networks would learn nothing."""
    net = Perceptron(inputs, outputs, sizes.context, sizes.hidden, sizes.layers)
    net.end.reset_parameters()
    return net


def _normal(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation, a half of a network's outputs each."""
    mean, raw = outputs.chunk(2, 1)
    return mean, _deviation(raw)


def _deviation(raw: Tensor) -> Tensor:
    """Positive and never below a thousandth, so that no density grows without bound."""
    return F.softplus(raw) + 1e-3


def _log_normal(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log-density (N,) of x (N, C, T)."""
    each = -0.5 * ((x - mean) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
    return each.flatten(1).sum(1)
