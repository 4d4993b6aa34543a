"""The door of a vocoder: mels and latents as tensors with a batch axis, and the audio that goes out, limited."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from flowvocoder.audio.arrays import Numbers, as_tensor, batched
from flowvocoder.errors import ClippedWarning, MelError
from flowvocoder.mel.diagnose import implausible, refuse
from flowvocoder.mel.spec import MelSpec
from flowvocoder.settings import whole
from flowvocoder.units import HIGHEST, MOST_CLIPPED


def as_mel(mel: Numbers, spec: MelSpec, like: Tensor) -> Tensor:
    """A mel (B, n_mels, F) or (n_mels, F) -> (B, n_mels, F), on the device and in the dtype of `like`.

    Raises:
        MelError: other axes or bands, no frames, integers, or values that are not finite.
    """
    tensor = batched(as_tensor(mel, MelError, "floating-point numbers"), 2, MelError, like)
    if tensor.shape[1] != spec.n_mels or tensor.shape[2] == 0:
        hint = "; it looks transposed" if tensor.shape[2] == spec.n_mels else ""
        raise MelError(f"mel of shape {tuple(tensor.shape)}: expected (B, {spec.n_mels}, F){hint}")
    if not torch.isfinite(tensor).all():
        raise MelError("mel holds values that are NaN or infinite")
    return tensor


def as_latent(latent: Numbers, shape: tuple[int, int, int], mel: Tensor) -> Tensor:
    """A latent (B, M, N) or (M, N) -> `shape`, on the mel's device and in its dtype. Raises MelError: another shape."""
    tensor = batched(as_tensor(latent, MelError, "floating-point numbers"), 2, MelError, mel)
    if tuple(tensor.shape) != shape:
        raise MelError(f"a latent of shape {tuple(tensor.shape)} does not fit a mel of shape {tuple(mel.shape)}")
    return tensor


def as_lengths(lengths: Sequence[int] | Tensor | None, mel: Tensor) -> Tensor | None:
    """Frames of each item of a mel (B, n_mels, F), (B,). Raises MelError if they do not fit."""
    if lengths is None:
        return None
    given = [whole("lengths", n) for n in lengths]
    if len(given) != len(mel) or not all(1 <= n <= mel.shape[2] for n in given):
        raise MelError(f"lengths {given} do not fit a batch of {len(mel)} mels of up to {mel.shape[2]} frames")
    return torch.as_tensor(given, device=mel.device)


def check_plausible(mel: Tensor, spec: MelSpec, lengths: Tensor | None = None) -> None:
    """Raises ImplausibleMelError for a mel (B, n_mels, F) that cannot be of a recording in the convention `spec`."""
    ends = [mel.shape[2]] * len(mel) if lengths is None else lengths.tolist()
    for item, end in zip(mel.detach().cpu().numpy(), ends, strict=True):
        refuse(implausible(item[:, :end], spec), spec)


def finite(audio: Tensor) -> Tensor:
    """Audio as it is. Raises MelError if values are not finite."""
    if not torch.isfinite(audio).all():
        raise MelError("synthesis gives values that are not finite: mel or temperature are too large")
    return audio


def checked_synthesis(audio: Tensor) -> Tensor:
    """Synthesised audio, limited to `HIGHEST`. Warns if more than `MOST_CLIPPED` of it is above full scale.

    Raises:
        MelError: values are not finite.
    """
    # Of most audio the peak says all; that of values of which one is NaN is NaN.
    if not audio.numel() or float(audio.detach().abs().max()) <= 1.0:
        return audio.clamp(-HIGHEST, HIGHEST)
    clipped = float((finite(audio).detach().abs() > 1.0).double().mean())
    if clipped > MOST_CLIPPED:
        message = f"{clipped:.0%} of the samples are above full scale: lower the temperature, or is the mel too loud?"
        warnings.warn(message, ClippedWarning, stacklevel=2)
    return audio.clamp(-HIGHEST, HIGHEST)
