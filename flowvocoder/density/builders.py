"""The chain of layers of every family."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.density.continuous import Estimated, Matched
from flowvocoder.density.families import Settings, Sizes
from flowvocoder.density.images import glow_images, realnvp_images
from flowvocoder.density.model import StandardisedFlow
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.autoregressive import Autoregressive, Inverse, MaskedPerceptron
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.continuous import ContinuousFlow, Velocity
from flowvocoder.flows.coupling import Coupling
from flowvocoder.flows.elementwise import Affine, Elementwise, Shift
from flowvocoder.flows.perceptron import Activation, Perceptron
from flowvocoder.flows.permutation import Permutation
from flowvocoder.flows.planar import Planar
from flowvocoder.flows.pointwise import PointwiseLU, random_rotation
from flowvocoder.flows.radial import Radial
from flowvocoder.flows.spline import Spline
from flowvocoder.flows.sylvester import Sylvester

Builder = Callable[[Sizes], list[Bijection]]

FEW, SPREAD = 2, 4.0
"""Up to so many features the outermost bins of splines start about so many times as wide as the innermost."""

BUILDERS: dict[str, Builder] = {}
"""The builder of every family."""


def family(name: str) -> Callable[[Builder], Builder]:
    """Declares the builder of a family."""

    def declared(builder: Builder) -> Builder:
        BUILDERS[name] = builder
        return builder

    return declared


def build(settings: Settings, features: int, context: int) -> StandardisedFlow:
    """A fresh flow for D features given K; its start is a function of the seed.

    Raises:
        ConfigError: this machine has not the device.
        DensityError: images of `shape` have not D pixels.
    """
    event = settings.event(features)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        sizes = Sizes(features, context, settings.layers, settings.hidden, settings.shape)
        chain = Chain(BUILDERS[settings.family](sizes))
    return _kind(settings)(chain, event, context).placed(settings.device, settings.dtype)


def _kind(settings: Settings) -> type[StandardisedFlow]:
    """By what it is trained."""
    if settings.objective == "flow-matching":
        return Matched
    return Estimated if settings.trace == "hutchinson" else StandardisedFlow


@family("nice")
def nice(sizes: Sizes) -> list[Bijection]:
    """Invertible 1x1 convolutions and additive couplings; at the end a scale for every channel.

    Halves that take turns, as in the paper, learn nothing of a set in which each half has the same mean whatever the
    other is, as of points on a circle: a rotation makes them differ.
    """
    return [*_rotating(sizes, lambda: coupling(sizes, Shift()), normalise=False), ActNorm(sizes.features)]


@family("realnvp")
def realnvp(sizes: Sizes) -> list[Bijection]:
    """Affine couplings, normalised between."""
    if sizes.shape:
        return realnvp_images(sizes)
    return [*_couplings(sizes, Affine()), ActNorm(sizes.features)]


@family("glow")
def glow(sizes: Sizes) -> list[Bijection]:
    """Steps of normalisation, an invertible 1x1 convolution and an affine coupling."""
    if sizes.shape:
        return glow_images(sizes)
    return _rotating(sizes, lambda: coupling(sizes, Affine()), normalise=True)


@family("planar")
def planar(sizes: Sizes) -> list[Bijection]:
    """Planar layers alone."""
    return [Planar(sizes.features, sizes.context, sizes.hidden) for _ in range(sizes.layers)]


@family("radial")
def radial(sizes: Sizes) -> list[Bijection]:
    """Radial layers alone."""
    return [Radial(sizes.features, sizes.context, sizes.hidden) for _ in range(sizes.layers)]


@family("sylvester")
def sylvester(sizes: Sizes) -> list[Bijection]:
    """Sylvester layers with as many hidden units as there are features, up to 16."""
    units = min(sizes.features, 16)
    return [Sylvester(sizes.features, units, sizes.context, sizes.hidden) for _ in range(sizes.layers)]


@family("maf")
def maf(sizes: Sizes) -> list[Bijection]:
    """Affine autoregressions, normalised, with the features mixed between."""
    return _mixing(sizes, lambda: autoregression(sizes, Affine()))


@family("iaf")
def iaf(sizes: Sizes) -> list[Bijection]:
    """Those of `maf` the other way round: sampling takes one pass, the density one for every feature."""
    return _mixing(sizes, lambda: Inverse(autoregression(sizes, Affine())))


@family("nsf-c")
def nsf_coupling(sizes: Sizes) -> list[Bijection]:
    """Invertible 1x1 convolutions and spline couplings. Kinks of the networks (ReLU) find islands sooner.

    More than a few features start in random orders, not rotated: what is not Gaussian in a column then stays in one.
    """
    starts = [random_rotation if sizes.features <= FEW else _random_order] * sizes.layers
    return _rotating(sizes, lambda: _spread(coupling(sizes, Spline(), activation=F.relu), sizes), False, starts)


@family("nsf-ar")
def nsf_autoregressive(sizes: Sizes) -> list[Bijection]:
    """Invertible 1x1 convolutions and spline autoregressions.

    More than a few features start in a random order before the first of these, and rotated before the others: the first
    finds what is not Gaussian in a column.
    """
    starts = _order_first(sizes) if sizes.features > FEW else ()
    return _rotating(sizes, lambda: _spread(autoregression(sizes, Spline()), sizes), False, starts)


@family("cnf")
def cnf(sizes: Sizes) -> list[Bijection]:
    """Continuous flows."""
    sizes_of = sizes.features, sizes.context, sizes.hidden
    return [ContinuousFlow(Velocity(*sizes_of)) for _ in range(sizes.layers)]


def coupling(sizes: Sizes, transform: Elementwise, exchange: bool = False, activation: Activation = F.silu) -> Coupling:
    """A coupling of vectors, conditioned by a perceptron."""
    given = sizes.features // 2
    outputs = transform.parameters * (sizes.features - given)
    return Coupling(Perceptron(given, outputs, sizes.context, sizes.hidden, activation=activation), transform, exchange)


def autoregression(sizes: Sizes, transform: Elementwise) -> Autoregressive:
    """An autoregression of vectors, conditioned by a masked perceptron with kinks, as MAF was published."""
    net = MaskedPerceptron(sizes.features, transform.parameters, sizes.context, sizes.hidden, activation=F.relu)
    return Autoregressive(net, transform)


def _spread(layer: Coupling | Autoregressive, sizes: Sizes) -> Coupling | Autoregressive:
    """A layer of splines, still the identity, whose bins are narrower in the middle if there are few features.

    There they find edges and gaps sooner. With more features rows are far apart, and narrow bins learn them by heart.
    """
    if sizes.features <= FEW:
        net, spline = layer.conditioner, layer.transform
        assert isinstance(net, Perceptron | MaskedPerceptron) and isinstance(spline, Spline)
        with torch.no_grad():
            net.end.bias.view(spline.parameters, -1).copy_(spline.identity(SPREAD)[:, None])
    return layer


def _mixing(sizes: Sizes, layer: Callable[[], Bijection]) -> list[Bijection]:
    """Normalised layers with invertible 1x1 convolutions before them; few features are only turned round between."""
    if sizes.features > FEW:
        return _rotating(sizes, layer, True, _order_first(sizes))
    layers: list[Bijection] = []
    for _ in range(sizes.layers):
        layers += [ActNorm(sizes.features), layer(), Permutation(torch.arange(sizes.features).flip(0))]
    return layers


def _order_first(sizes: Sizes) -> list[Callable[[int], Tensor]]:
    """Starts of convolutions: the first layer sees the features as they are, the others mixtures of them."""
    return [_random_order, *[random_rotation] * (sizes.layers - 1)]


def _random_order(channels: int) -> Tensor:
    """Permutation matrix drawn from torch's global generator."""
    return torch.eye(channels)[torch.randperm(channels)]


def _rotating(
    sizes: Sizes, layer: Callable[[], Bijection], normalise: bool, starts: Sequence[Callable[[int], Tensor]] = ()
) -> list[Bijection]:
    """An invertible 1x1 convolution before every layer, and before that a normalisation.

    Convolutions start as `starts`, a function of the number of channels each; as random rotations without.
    """
    layers: list[Bijection] = []
    for start in starts or [random_rotation] * sizes.layers:
        if normalise:
            layers.append(ActNorm(sizes.features))
        layers += [PointwiseLU(start(sizes.features)), layer()]
    return layers


def _couplings(sizes: Sizes, transform: Elementwise) -> list[Bijection]:
    """Normalised couplings whose halves take turns, and after every second one another random division into halves."""
    layers: list[Bijection] = []
    for number in range(sizes.layers):
        if number and number % 2 == 0 and sizes.features > 2:
            layers.append(Permutation(torch.randperm(sizes.features)))
        layers += [ActNorm(sizes.features), coupling(sizes, transform, exchange=number % 2 == 1)]
    return layers
