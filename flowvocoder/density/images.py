"""Chains of several scales for images: squares of pixels become channels, and half of the channels leave early."""

from collections.abc import Callable

from flowvocoder.density.families import Sizes
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import Coupling
from flowvocoder.flows.elementwise import Affine
from flowvocoder.flows.images import ImageNet, ImageSqueeze, MaskedCoupling, Size, Within, checkerboard
from flowvocoder.flows.multiscale import EarlyOut
from flowvocoder.flows.pointwise import PointwiseLU, random_rotation

Stage = Callable[[Sizes, int, Size], list[Bijection]]
"""The layers for (B, channels, height * width)."""


def realnvp_images(sizes: Sizes) -> list[Bijection]:
    """Checkerboard couplings at every scale, and couplings of channels after every squeeze (arXiv:1605.08803)."""
    return _scales(sizes, *_pixels(sizes), before=_checkerboards, after=_channels)


def glow_images(sizes: Sizes) -> list[Bijection]:
    """Steps of normalisation, 1x1 convolution and coupling at every scale (arXiv:1807.03039)."""
    return _scales(sizes, *_pixels(sizes), before=_nothing, after=_glow_steps)


def _pixels(sizes: Sizes) -> tuple[int, Size]:
    channels, height, width = sizes.shape
    return channels, (height, width)


def _scales(sizes: Sizes, channels: int, size: Size, before: Stage, after: Stage) -> list[Bijection]:
    """The layers of one scale with all smaller ones inside; at the smallest, whose size is odd, no squeeze."""
    layers = before(sizes, channels, size)
    if size[0] % 2 or size[1] % 2:
        return layers or after(sizes, channels, size)
    height, width, channels = size[0] // 2, size[1] // 2, 4 * channels
    inner = after(sizes, channels, (height, width))
    if height % 2 == 0 and width % 2 == 0:
        smaller = _scales(sizes, channels // 2, (height, width), before, after)
        inner.append(EarlyOut(channels // 2, Chain(smaller)))
    return [*layers, Within(ImageSqueeze(size), Chain(inner))]


def _checkerboards(sizes: Sizes, channels: int, size: Size) -> list[Bijection]:
    layers: list[Bijection] = []
    for number in range(sizes.layers):
        net = ImageNet(channels, 2 * channels, sizes.context, sizes.hidden, size)
        mask = checkerboard(size, exchange=number % 2 == 1)
        layers += [ActNorm(channels), MaskedCoupling(mask, net, Affine())]
    return layers


def _channels(sizes: Sizes, channels: int, size: Size) -> list[Bijection]:
    layers: list[Bijection] = []
    for number in range(sizes.layers):
        layers += [ActNorm(channels), _coupling(sizes, channels, size, exchange=number % 2 == 1)]
    return layers


def _glow_steps(sizes: Sizes, channels: int, size: Size) -> list[Bijection]:
    layers: list[Bijection] = []
    for _ in range(sizes.layers):
        rotation = PointwiseLU(random_rotation(channels))
        layers += [ActNorm(channels), rotation, _coupling(sizes, channels, size)]
    return layers


def _nothing(sizes: Sizes, channels: int, size: Size) -> list[Bijection]:
    return []


def _coupling(sizes: Sizes, channels: int, size: Size, exchange: bool = False) -> Coupling:
    given = channels // 2
    net = ImageNet(given, 2 * (channels - given), sizes.context, sizes.hidden, size)
    return Coupling(net, Affine(), exchange)
