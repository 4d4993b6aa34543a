"""Weights of a voice for another mel: what reads bands is re-expressed, so training need not begin from nothing."""

import dataclasses

import torch
from torch import Tensor

from flowvocoder.checkpoint import build_model
from flowvocoder.config import Experiment
from flowvocoder.errors import CheckpointError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.mel.frontend import band_centres, interpolation
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.guide import STATED, Guide
from flowvocoder.postfilter.low_band import LowBand


def take_weights_of_another_mel(
    model: FlowVocoder, experiment: Experiment, trained: FlowVocoder, trained_mel: MelSpec
) -> None:
    """Give the experiment's model the weights of one of the same sizes that was trained with `trained_mel`.

    Encoders standardise every band (`MelEncoder.standardise`), so what an old band held is interpolated between new
    ones. Frequencies count relative to the sample rate and pitch lags in samples, as they do in the flow: speech at
    another rate is slower or faster speech to it.

    Raises:
        CheckpointError: mel bands are not input channels of convolutions alone, as in WaveGlow's upsampler.
    """
    mel = experiment.mel
    between = interpolation(band_centres(mel) / mel.sample_rate, band_centres(trained_mel) / trained_mel.sample_rate)
    weights = trained.state_dict()
    for name in _readers(model, experiment):
        weights[name] = _reexpressed(weights[name], between)
    for name, module in model.named_modules():
        if isinstance(module, PitchPredictor):
            before = trained.get_submodule(name)
            assert isinstance(before, PitchPredictor)
            lags = torch.arange(module.min_lag, module.max_lag + 1).clamp(before.min_lag, before.max_lag)
            for part in ("weight", "bias"):
                head = f"{name}.lag_head.{part}"
                weights[head] = weights[head][lags - before.min_lag]
    model.load_state_dict(weights)


def guide_keeps(mel: MelSpec, trained_mel: MelSpec) -> bool:
    """Whether a guide for one mel can take the weights of a guide for another: their windows are as many samples."""
    sizes = {(spec.n_fft, spec.hop_length, LowBand(spec).decimate) for spec in (mel, trained_mel)}
    return len(sizes) == 1


def take_guide_of_another_mel(guide: Guide, mel: MelSpec, trained: Guide, trained_mel: MelSpec) -> None:
    """Give a guide the weights of one that was trained with `trained_mel`, where `guide_keeps` is true.

    Bins, lags and bands count relative to the sample rate, as in the flow. A mel's levels are those of a flat spectrum
    (`Guide.unit`) plus what it says of the signal; only the first differs with the filterbank.
    """
    ours, theirs = guide.unit, trained.unit
    between = interpolation(
        band_centres(mel)[: len(ours)] / mel.sample_rate,
        band_centres(trained_mel)[: len(theirs)] / trained_mel.sample_rate,
    ).to(ours)
    weights = {name: value.clone() for name, value in trained.state_dict().items()}
    read = weights["start.weight"].split([*[len(theirs)] * 4, trained.bins, trained.lags], 1)
    bands, own, correlation = read[:4], read[4], read[5]
    middle, scale = STATED
    offset = (theirs + middle) - (ours + middle) @ between
    weights["start.bias"] += (bands[0] + bands[1]) @ offset / scale
    weights["start.weight"] = torch.cat(
        [*(band @ between.T for band in bands), _resized(own, guide.bins, 1), _resized(correlation, guide.lags, 1)], 1
    )
    for name in ("last.weight", "last.bias"):
        weights[name] = torch.cat([_resized(part, guide.bins, 0) for part in weights[name].chunk(2)])
    guide.load_state_dict(weights)


def _resized(x: Tensor, size: int, axis: int) -> Tensor:
    """Cut, or with zeros after it."""
    kept = x.narrow(axis, 0, min(size, x.shape[axis]))
    shape = [size - kept.shape[axis] if place == axis else length for place, length in enumerate(x.shape)]
    return torch.cat([kept, x.new_zeros(shape)], axis)


def _readers(model: FlowVocoder, experiment: Experiment) -> list[str]:
    """Names of the weights whose first input channels are mel bands: those with more where there are more bands."""
    mel = dataclasses.replace(experiment.mel, n_mels=experiment.mel.n_mels + 2)
    more = build_model(dataclasses.replace(experiment, mel=mel)).state_dict()
    ours = model.state_dict()
    names = [name for name, value in more.items() if value.shape != ours[name].shape]
    if any(_without_inputs(more[name]) != _without_inputs(ours[name]) for name in names):
        raise CheckpointError(f"a {experiment.model.architecture} for another mel has to be trained from nothing")
    return names


def _without_inputs(weight: Tensor) -> list[int]:
    return [size for axis, size in enumerate(weight.shape) if axis != 1]


def _reexpressed(weight: Tensor, between: Tensor) -> Tensor:
    """(O, old bands + D, K) for the new bands, of which `between`, (new, old), makes the old: (O, new bands + D, K)."""
    old = between.shape[1]
    bands = torch.einsum("iok,no->ink", weight[:, :old], between.to(weight))
    return torch.cat([bands, weight[:, old:]], 1)
