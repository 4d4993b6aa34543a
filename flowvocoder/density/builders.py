"""The chain of layers of every family."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from flowvocoder.density.families import Settings
from flowvocoder.density.model import StandardisedFlow
from flowvocoder.errors import ConfigError
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import Coupling
from flowvocoder.flows.elementwise import Affine, Elementwise, Shift
from flowvocoder.flows.perceptron import Perceptron
from flowvocoder.flows.permutation import Permutation
from flowvocoder.flows.pointwise import PointwiseLU


class Sizes(NamedTuple):
    """What a chain is built for: vectors (B, D, 1) with D features given a context (B, K, 1)."""

    features: int
    context: int
    layers: int
    hidden: int


Builder = Callable[[Sizes], list[Bijection]]
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
        chain = Chain(BUILDERS[settings.family](Sizes(features, context, settings.layers, settings.hidden)))
    try:
        chain.to(settings.device, getattr(torch, settings.dtype))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {settings.device}: not usable here ({str(error).splitlines()[0]})") from error
    return StandardisedFlow(chain, event, context).eval()


@family("nice")
def nice(sizes: Sizes) -> list[Bijection]:
    """Additive couplings; at the end a scale for every channel."""
    return [*_couplings(sizes, Shift(), normalise=False), ActNorm(sizes.features)]


@family("realnvp")
def realnvp(sizes: Sizes) -> list[Bijection]:
    """Affine couplings, normalised between."""
    return [*_couplings(sizes, Affine(), normalise=True), ActNorm(sizes.features)]


@family("glow")
def glow(sizes: Sizes) -> list[Bijection]:
    """Steps of normalisation, an invertible 1x1 convolution and an affine coupling."""
    layers: list[Bijection] = []
    for _ in range(sizes.layers):
        layers += [ActNorm(sizes.features), rotation(sizes.features), coupling(sizes, Affine())]
    return layers


def coupling(sizes: Sizes, transform: Elementwise, exchange: bool = False) -> Coupling:
    """A coupling of vectors, conditioned by a perceptron."""
    given = sizes.features // 2
    outputs = transform.parameters * (sizes.features - given)
    return Coupling(Perceptron(given, outputs, sizes.context, sizes.hidden), transform, exchange)


def rotation(channels: int) -> PointwiseLU:
    """A 1x1 convolution that starts as a random rotation."""
    return PointwiseLU(torch.linalg.qr(torch.randn(channels, channels)).Q)


def _couplings(sizes: Sizes, transform: Elementwise, normalise: bool) -> list[Bijection]:
    """Couplings whose halves take turns, and after every second one another random division into halves."""
    layers: list[Bijection] = []
    for number in range(sizes.layers):
        if number and number % 2 == 0 and sizes.features > 2:
            layers.append(Permutation(torch.randperm(sizes.features)))
        if normalise:
            layers.append(ActNorm(sizes.features))
        layers.append(coupling(sizes, transform, exchange=number % 2 == 1))
    return layers
