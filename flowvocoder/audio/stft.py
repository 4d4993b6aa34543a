"""The short-time Fourier transform, its power and its magnitude; frames, and their sum by overlap-add."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.units import ceil_div

RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""n_fft, hop and window length in samples of the multi-resolution STFT distance (Yamamoto et al. 2020,
arXiv:1910.11480)."""


def stft(
    audio: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    *,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
) -> Tensor:
    """Complex spectra of audio: (..., T) -> (..., n_fft / 2 + 1, frames).

    Args:
        n_fft, hop_length, win_length: in samples; the window is as long as `n_fft` by default.
        window: (win_length,); None: the periodic Hann window.
        center: frame f lies around sample f * hop_length, and the ends are padded as `pad_mode` says.

    Example:
        >>> stft(torch.zeros(2, 1024), 256, 64).shape
        torch.Size([2, 129, 17])
    """
    length = win_length or n_fft
    if window is None:
        window = torch.hann_window(length, device=audio.device, dtype=audio.dtype)
    return torch.stft(audio, n_fft, hop_length, length, window, center=center, pad_mode=pad_mode, return_complex=True)


def power(spectrum: Tensor, floor: float = 0.0) -> Tensor:
    """Squared magnitudes plus `floor`, which keeps the gradient of a root or a logarithm finite in silence."""
    total = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
    return total + floor if floor else total


def magnitude(spectrum: Tensor, floor: float = 0.0) -> Tensor:
    """sqrt(|X|^2 + floor): three times as fast as `abs`, which guards against overflow."""
    return power(spectrum, floor).sqrt()


def frames(audio: Tensor, size: int, hop: int, count: int) -> Tensor:
    """The first `count` frames of a signal, or as many as are whole: (B, T) -> (B, count, size), a view."""
    return audio.unfold(1, size, hop)[:, :count]


def overlap_add(windowed: Tensor, hop: int) -> Tensor:
    """The sum of frames that start `hop` samples apart: (B, J, size) -> (B, (J - 1 + ceil(size / hop)) * hop).

    Example:
        >>> overlap_add(torch.ones(1, 3, 4), 2)
        tensor([[1., 1., 2., 2., 2., 2., 1., 1.]])
    """
    count, size = windowed.shape[1:]
    pieces = ceil_div(size, hop)
    missing = pieces * hop - size
    # No padding by nothing: it would copy all frames.
    padded = (F.pad(windowed, (0, missing)) if missing else windowed).unflatten(2, (pieces, hop))
    total = windowed.new_zeros(len(windowed), count + pieces - 1, hop)
    for piece in range(pieces):
        total[:, piece : piece + count] += padded[:, :, piece]
    return total.flatten(1)
