"""The published layouts: whose they are, the sizes that follow from the shapes, and where each tensor belongs.

Facts about the layouts are from NVIDIA/waveglow (glow.py, glow_old.py), NVIDIA/DeepLearningExamples,
tianrengao/SqueezeWave and L0SG/WaveFlow.
"""

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from flowvocoder.config import ModelConfig
from flowvocoder.errors import CheckpointError
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.encoders import SmoothUpsampler, TransposedUpsampler
from flowvocoder.flows.pointwise import PointwiseMatrix
from flowvocoder.flows.rows import RowAutoregression, RowWaveNet
from flowvocoder.flows.separable import EdgePaddedConv, SeparableNet
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.interop.published.weights import Weights
from flowvocoder.models.waveflow import WaveFlowConfig
from flowvocoder.models.waveglow import SqueezeWaveConfig, WaveGlowConfig

BATCH_NORM_EPS = 1e-5
HOP = 256  # samples, of all published models


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the shapes say.

    Attributes:
        name: for people.
        temperature: at which the reference synthesises.
        assumed: what the file does not say, for people; empty if it says everything.
    """

    name: str
    model: ModelConfig
    n_mels: int
    hop_length: int
    temperature: float
    assumed: str = ""


def recognise(weights: Weights) -> Layout:
    """Which model this is. Raises CheckpointError if it is none that is known."""
    if weights.has("convinv.0.conv.weight") and weights.has("WN.0.end.weight"):
        return _waveglow(weights) if weights.has("upsample.weight") else _squeezewave(weights)
    if weights.has("flows.0.coupling.net.front_conv.0.conv.weight") and weights.has("upsample_conv.0.weight"):
        return _waveflow(weights)
    raise CheckpointError(f"{weights.path}: holds no WaveGlow, SqueezeWave or WaveFlow in a known layout")


def fill(model: FlowVocoder, layout: Layout, weights: Weights) -> None:
    """Copy every tensor to where it belongs. Raises CheckpointError if one is missing, left over or misshapen."""
    with torch.no_grad():
        if isinstance(layout.model, WaveFlowConfig):
            _fill_waveflow(model, weights)
        else:
            _fill_grouped(model, weights)
    weights.finish()


def _waveglow(weights: Weights) -> Layout:
    n_mels, _, window = weights.shape("upsample")
    layers = weights.count("WN.0.in_layers.{}")
    _, channels, kernel = weights.shape("WN.0.in_layers.0")
    # Models of glow_old.py exchange the halves' roles from flow to flow; the weights do not show it.
    old = weights.kind.startswith("glow_old.")
    separate = weights.has("WN.0.cond_layers.0.weight")
    group, flows, early_every, early_size = _early_outputs(weights)
    config = WaveGlowConfig(
        group=group, flows=flows, early_every=early_every, early_size=early_size, channels=channels, layers=layers,
        kernel=kernel, window=window, alternate=old,
    )  # fmt: skip
    stride = weights.strides.get("upsample", (HOP,))
    hop = stride[0] if isinstance(stride, tuple) and stride and type(stride[0]) is int else HOP
    name = "WaveGlow, old layout" if old or separate else "WaveGlow"
    unsure = separate and not weights.kind
    assumed = "halves in the same roles in every flow (if not: --set model.alternate=true)" if unsure else ""
    return Layout(name, config, n_mels, hop, 0.6, assumed)


def _squeezewave(weights: Weights) -> Layout:
    layers = weights.count("WN.0.in_layers.{}")
    channels, _, kernel = weights.shape(f"WN.0.in_layers.0.{_depthwise_index(weights, 'WN.0.in_layers.0')}")
    _, n_mels, _ = weights.shape("WN.0.cond_layer")
    group, flows, early_every, early_size = _early_outputs(weights)
    config = SqueezeWaveConfig(
        group=group, flows=flows, early_every=early_every, early_size=early_size, channels=channels, layers=layers,
        kernel=kernel,
    )  # fmt: skip
    return Layout("SqueezeWave", config, n_mels, HOP, 0.6)


def _waveflow(weights: Weights) -> Layout:
    net = "flows.0.coupling.net"
    layers = weights.count(net + ".res_blocks.{}")
    channels = weights.shape(f"{net}.front_conv.0.conv")[0]
    kernel = weights.shape(f"{net}.res_blocks.0.filter_gate_conv.conv")[-1]
    fused = weights.has(f"{net}.fused_filter_gate_conv_c.weight")
    n_mels = weights.shape(f"{net}.fused_filter_gate_conv_c" if fused else f"{net}.res_blocks.0.filter_gate_conv_c")[1]
    hop = 1
    for index in (0, 2):
        hop *= weights.shape(f"upsample_conv.{index}")[-1] // 2
    config = WaveFlowConfig(flows=weights.count("flows.{}"), channels=channels, layers=layers, kernel=kernel)
    assumed = "16 rows, bipartite order (if not: --set model.rows=8, --set model.bipartite=false)"
    return Layout("WaveFlow", config, n_mels, hop, 1.0, assumed)


def _early_outputs(weights: Weights) -> tuple[int, int, int, int]:
    """group, flows, early_every and early_size, from the sizes of the 1x1 convolutions."""
    sizes = [weights.shape(f"convinv.{flow}.conv")[0] for flow in range(weights.count("convinv.{}"))]
    every = next((flow for flow, size in enumerate(sizes) if size != sizes[0]), len(sizes))
    early = sizes[0] - sizes[every] if every < len(sizes) else 0
    if sizes != [sizes[0] - flow // every * early for flow in range(len(sizes))]:
        raise CheckpointError(f"{weights.path}: early outputs at irregular places: 1x1 convolutions of {sizes}")
    return sizes[0], len(sizes), every, early


def _fill_grouped(model: FlowVocoder, weights: Weights) -> None:
    matrices = [layer for layer in model.modules() if isinstance(layer, PointwiseMatrix)]
    couplings = [layer for layer in model.modules() if isinstance(layer, AffineCoupling)]
    if isinstance(model.encoder, TransposedUpsampler):
        _copy(weights, "upsample", model.encoder.up, *weights.convolution("upsample"))
    for flow, (matrix, coupling) in enumerate(zip(matrices, couplings, strict=True)):
        _copy_tensor(weights, f"convinv.{flow}", matrix.weight, weights.weight(f"convinv.{flow}.conv").squeeze(2))
        net = coupling.conditioner
        if isinstance(net, WaveNet):
            _fill_wavenet(net, f"WN.{flow}", weights)
        elif isinstance(net, SeparableNet):
            _fill_separable(net, f"WN.{flow}", weights)


def _fill_wavenet(net: WaveNet, wn: str, weights: Weights) -> None:
    layers = len(net.mix)
    _copy(weights, f"{wn}.start", net.start, *weights.convolution(f"{wn}.start"))
    if weights.has(f"{wn}.cond_layers.0.weight"):
        conditions = [weights.convolution(f"{wn}.cond_layers.{i}") for i in range(layers)]
        weight, bias = (torch.cat(parts) for parts in zip(*conditions, strict=True))
    else:
        weight, bias = weights.convolution(f"{wn}.cond_layer")
    _copy(weights, f"{wn}.cond_layer", net.context, weight, bias)
    for i, (dilated, mix) in enumerate(zip(net.dilated, net.mix, strict=True)):
        _copy(weights, f"{wn}.in_layers.{i}", dilated, *weights.convolution(f"{wn}.in_layers.{i}"))
        if weights.has(f"{wn}.skip_layers.{i}.weight"):
            parts = [f"{wn}.res_layers.{i}", f"{wn}.skip_layers.{i}"] if i < layers - 1 else [f"{wn}.skip_layers.{i}"]
            taken = [weights.convolution(part) for part in parts]
            weight, bias = (torch.cat(values) for values in zip(*taken, strict=True))
        else:
            weight, bias = weights.convolution(f"{wn}.res_skip_layers.{i}")
        _copy(weights, f"{wn}.res_skip_layers.{i}", mix, weight, bias)
    _fill_end(net.end, wn, weights)


def _fill_separable(net: SeparableNet, wn: str, weights: Weights) -> None:
    _copy(weights, f"{wn}.start", net.start, *weights.convolution(f"{wn}.start"))
    _copy(weights, f"{wn}.cond_layer", net.context, *weights.convolution(f"{wn}.cond_layer"))
    for i, (depthwise, pointwise, mix) in enumerate(zip(net.depthwise, net.pointwise, net.mix, strict=True)):
        layer = f"{wn}.in_layers.{i}"
        first = _depthwise_index(weights, layer)
        weight, bias = weights.convolution(f"{layer}.{first}")
        edge = torch.zeros(len(weight))
        if first == 1:
            weight, bias, edge = _without_batch_norm(weights, f"{layer}.0", weight, bias)
        _copy(weights, layer, depthwise, weight, bias)
        cast(EdgePaddedConv, depthwise).edge.copy_(edge[:, None])
        _copy(weights, layer, pointwise, *weights.convolution(f"{layer}.{first + 1}"))
        _copy(weights, f"{wn}.res_skip_layers.{i}", mix, *weights.convolution(f"{wn}.res_skip_layers.{i}"))
    _fill_end(net.end, wn, weights)


def _depthwise_index(weights: Weights, layer: str) -> int:
    """1 behind a batch normalisation, 0 where that was folded into the weights already."""
    return 1 if weights.has(f"{layer}.0.running_mean") else 0


def _without_batch_norm(weights: Weights, norm: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, bias and edge of a depthwise convolution that does what it did behind the normalisation `norm`."""
    variance = weights.take(f"{norm}.running_var").double()
    scale = weights.take(f"{norm}.weight").double() / (variance + BATCH_NORM_EPS).sqrt()
    shift = weights.take(f"{norm}.bias").double() - weights.take(f"{norm}.running_mean").double() * scale
    scale = torch.where(scale.abs() < 1e-12, 1e-12, scale)  # a dead channel: its value does not matter, its edge does
    folded = weight.double() * scale[:, None, None]
    return folded.float(), (bias.double() + weight.double().sum((1, 2)) * shift).float(), (-shift / scale).float()


def _fill_end(end: nn.Conv1d, wn: str, weights: Weights) -> None:
    """The last layer, whose outputs are shift and log-scale there, log-scale and shift here."""
    weight, bias = weights.convolution(f"{wn}.end")
    half = len(bias) // 2
    _copy(weights, f"{wn}.end", end, weight.roll(half, 0), bias.roll(half, 0))


def _fill_waveflow(model: FlowVocoder, weights: Weights) -> None:
    upsampler = cast(SmoothUpsampler, model.encoder)
    for index, up in zip((0, 2), upsampler.up, strict=True):
        _copy(weights, f"upsample_conv.{index}", up, *weights.convolution(f"upsample_conv.{index}"))
    layers = [layer for layer in model.modules() if isinstance(layer, RowAutoregression)]
    for flow, layer in enumerate(layers):
        _fill_rows(layer.conditioner, f"flows.{flow}.coupling", weights)


def _fill_rows(net: RowWaveNet, coupling: str, weights: Weights) -> None:
    inner = f"{coupling}.net"
    _copy(weights, inner, net.start, *weights.convolution(f"{inner}.front_conv.0.conv"))
    fused = f"{inner}.fused_filter_gate_conv_c"
    if weights.has(f"{fused}.weight"):
        taken = weights.convolution(fused)
        conditions = list(zip(*(part.chunk(len(net.mix)) for part in taken), strict=True))
    else:
        conditions = [weights.convolution(f"{inner}.res_blocks.{i}.filter_gate_conv_c") for i in range(len(net.mix))]
    for i, (context, dilated, mix) in enumerate(zip(net.context, net.dilated, net.mix, strict=True)):
        block = f"{inner}.res_blocks.{i}"
        _copy(weights, f"{block}.filter_gate_conv_c", context, *conditions[i])
        _copy(weights, block, dilated, *weights.convolution(f"{block}.filter_gate_conv.conv"))
        weight, bias = weights.convolution(f"{block}.res_skip_conv")
        kept = len(cast(Tensor, mix.bias))  # the last layer's residual half goes nowhere
        _copy(weights, f"{block}.res_skip_conv", mix, weight[-kept:], bias[-kept:])
    _copy(weights, coupling, net.end, *weights.convolution(f"{coupling}.proj_log_s_t.conv"))


def _copy(weights: Weights, name: str, layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    _copy_tensor(weights, name, cast(Tensor, layer.weight), weight)
    _copy_tensor(weights, name, cast(Tensor, layer.bias), bias)


def _copy_tensor(weights: Weights, name: str, target: Tensor, value: Tensor) -> None:
    if target.shape != value.shape:
        raise CheckpointError(f"{weights.path}: {name} is {tuple(value.shape)}, expected {tuple(target.shape)}")
    if not torch.isfinite(value).all():
        raise CheckpointError(f"{weights.path}: {name} holds values that are not finite")
    target.copy_(value)
