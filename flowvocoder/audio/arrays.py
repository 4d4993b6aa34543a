"""What people have at hand as tensors with a batch axis: arrays of any kind, and recordings among them."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowvocoder.audio.files import LOUDEST
from flowvocoder.errors import AudioError, FlowVocoderError
from flowvocoder.units import PCM16_STEP

Numbers: TypeAlias = Tensor | npt.ArrayLike
"""A tensor, an array, a list, a pandas Series or DataFrame."""

MOST_CHANNELS = 32
"""Of a recording. Audio of more items than samples, and of no more samples than this, has its axes exchanged."""


def as_audio(audio: Numbers, like: Tensor) -> Tensor:
    """Audio (B, T) or (T,) -> (B, T), on the device and in the dtype of `like`. 16-bit integers are scaled to -1..1.

    Raises:
        AudioError: other axes, channels last, other integers, or values that are no audio.
    """
    tensor = as_tensor(audio, AudioError, "floating-point numbers in -1..1, or 16-bit integers")
    pcm = tensor.dtype == torch.int16
    tensor = batched(tensor, 1, AudioError, like)
    if pcm:
        tensor = tensor * PCM16_STEP
    items, samples = tensor.shape
    if items > samples and 0 < samples <= MOST_CHANNELS:
        raise AudioError(
            f"audio of shape {(items, samples)}: expected (B, T); {items} samples of {samples} channels are to be"
            " averaged over the channels, or transposed"
        )
    if not torch.isfinite(tensor).all():
        raise AudioError("audio holds values that are NaN or infinite")
    if tensor.numel() and (peak := float(tensor.detach().abs().max())) > LOUDEST:
        raise AudioError(f"samples reach {peak:.4g}, expected -1 to 1: integers must be divided by their range")
    return tensor


def as_tensor(given: Numbers, error: type[FlowVocoderError], expected: str) -> Tensor:
    """As a dense tensor of floating-point numbers or 16-bit integers; a tensor stays itself."""
    if isinstance(given, Tensor):
        tensor, kind = given, str(given.dtype)
        usable = given.layout == torch.strided and (given.is_floating_point() or given.dtype == torch.int16)
    else:
        try:
            array = np.asarray(given)
        except (ValueError, TypeError, RuntimeError) as problem:  # a ragged list
            raise error(f"a {type(given).__name__} is no array of numbers: expected {expected}") from problem
        kind, usable = str(array.dtype), array.dtype.kind == "f" or array.dtype == np.int16
        wide = np.int16 if array.dtype.kind != "f" else np.float32 if array.itemsize <= 4 else np.float64
        tensor = torch.from_numpy(np.array(array, wide)) if usable else torch.empty(0)
    if not usable or (tensor.dtype == torch.int16 and error is not AudioError):
        raise error(f"an array of {kind}: expected {expected}")
    return tensor


def batched(x: Tensor, axes: int, error: type[FlowVocoderError], like: Tensor) -> Tensor:
    """With a batch axis before `axes` others, on the device and in the dtype of `like`."""
    if x.ndim not in (axes, axes + 1):
        raise error(f"an array of shape {tuple(x.shape)} has {x.ndim} axes, expected {axes} or {axes + 1}")
    return (x[None] if x.ndim == axes else x).to(like.device, like.dtype)
