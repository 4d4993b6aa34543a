"""Flows of other libraries behind the same estimator, to compare with: the same data, steps and loop of training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flowvocoder.density.estimator import FlowDensity
from flowvocoder.density.families import Family, Settings, Sizes
from flowvocoder.density.model import StandardisedFlow
from flowvocoder.errors import ConfigError
from flowvocoder.extras import library
from flowvocoder.flows.base import Bijection, Chain

PEERS: dict[str, Family] = {
    "zuko-nice": Family("NICE of zuko", "", 8, 64, 3e-3),
    "zuko-realnvp": Family("Real NVP of zuko", "", 8, 64, 3e-3),
    "zuko-maf": Family("MAF of zuko", "", 5, 64, 3e-3),
    "zuko-nsf": Family("autoregressive NSF of zuko", "", 3, 64, 6e-3),
    "normflows-realnvp": Family("Real NVP of normflows", "", 8, 64, 3e-3),
    "normflows-maf": Family("MAF of normflows", "", 5, 64, 3e-3),
    "normflows-nsf-c": Family("coupling NSF of normflows", "", 4, 64, 6e-3),
    "normflows-nsf-ar": Family("autoregressive NSF of normflows", "", 3, 64, 6e-3),
}
"""Flows of other libraries by name, LIBRARY-FLOW; layers and learning rates are those of our families."""


class ZukoLayer(Bijection):
    """A flow of zuko as one layer."""

    cheap_inverse = False

    def __init__(self, flow: nn.Module):
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.flow().transform.call_and_ladj(x[:, :, 0])
        return z[:, :, None], logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        x: Tensor = self.flow().transform.inv(z[:, :, 0])
        return x[:, :, None]


class NormflowsLayer(Bijection):
    """A flow of normflows as one layer."""

    cheap_inverse = False

    def __init__(self, flow: nn.Module):
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.flow.inverse_and_log_det(x[:, :, 0])  # type: ignore[operator]
        return z[:, :, None], logdet

    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        x: Tensor = self.flow.forward(z[:, :, 0])
        return x[:, :, None]


def _zuko(sizes: Sizes, name: str, **settings: Any) -> Bijection:
    flow = getattr(library("zuko", "peers").flows, name)
    width = (sizes.hidden, sizes.hidden)
    return ZukoLayer(flow(sizes.features, transforms=sizes.layers, hidden_features=width, **settings))


def _zuko_nice(sizes: Sizes) -> Bijection:
    """Additive, which zuko's NICE is not by itself."""
    return _zuko(sizes, "NICE", univariate=library("zuko", "peers").transforms.AdditiveTransform, shapes=[()])


def _normflows(sizes: Sizes, layers: Callable[[Any, Sizes], list[nn.Module]]) -> Bijection:
    nf = library("normflows", "peers")
    steps = [layer for _ in range(sizes.layers) for layer in layers(nf, sizes)]
    return NormflowsLayer(nf.NormalizingFlow(nf.distributions.DiagGaussian(sizes.features, trainable=False), steps))


def _realnvp(nf: Any, sizes: Sizes) -> list[nn.Module]:
    given = (sizes.features + 1) // 2
    widths = [given, sizes.hidden, sizes.hidden, 2 * (sizes.features - given)]
    net = nf.nets.MLP(widths, init_zeros=True)
    return [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(sizes.features, mode="swap")]


def _maf(nf: Any, sizes: Sizes) -> list[nn.Module]:
    return [nf.flows.MaskedAffineAutoregressive(sizes.features, sizes.hidden), nf.flows.LULinearPermute(sizes.features)]


def _nsf_coupling(nf: Any, sizes: Sizes) -> list[nn.Module]:
    spline = nf.flows.CoupledRationalQuadraticSpline(sizes.features, 2, sizes.hidden)
    return [spline, nf.flows.LULinearPermute(sizes.features)]


def _nsf_autoregressive(nf: Any, sizes: Sizes) -> list[nn.Module]:
    spline = nf.flows.AutoregressiveRationalQuadraticSpline(sizes.features, 2, sizes.hidden)
    return [spline, nf.flows.LULinearPermute(sizes.features)]


BUILDERS: dict[str, Callable[[Sizes], Bijection]] = {
    "zuko-nice": _zuko_nice,
    "zuko-realnvp": lambda sizes: _zuko(sizes, "RealNVP"),
    "zuko-maf": lambda sizes: _zuko(sizes, "MAF"),
    "zuko-nsf": lambda sizes: _zuko(sizes, "NSF"),
    "normflows-realnvp": lambda sizes: _normflows(sizes, _realnvp),
    "normflows-maf": lambda sizes: _normflows(sizes, _maf),
    "normflows-nsf-c": lambda sizes: _normflows(sizes, _nsf_coupling),
    "normflows-nsf-ar": lambda sizes: _normflows(sizes, _nsf_autoregressive),
}


def build_peer(settings: Settings, features: int, context: int) -> StandardisedFlow:
    """A fresh flow of another library for D features.

    Raises:
        ConfigError: the library is not installed, or it is given a context.
    """
    if context:
        raise ConfigError(f"{settings.family} is compared without a context only")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        layer = BUILDERS[settings.family](Sizes(features, 0, settings.layers, settings.hidden))
    return StandardisedFlow(Chain([layer]), (features, 1), 0).placed(settings.device, settings.dtype)


class PeerDensity(FlowDensity):
    """A flow of zuko or normflows, fitted as `FlowDensity` fits its own, with its arguments but for `shape`."""

    _families = PEERS
    _build = staticmethod(build_peer)
