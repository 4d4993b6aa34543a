"""How much a signal repeats itself: normalised autocorrelation, the pitch period, and lags of speech."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def autocorrelation(frames: Tensor, window: int, floor: float = 1e-9) -> Tensor:
    """Normalised autocorrelation of frames, in -1..1: (..., window + L - 1) -> (..., L).

    Value k compares the first `window` samples of a frame with the `window` samples k later.

    Args:
        floor: added to the product of two energies, so that silence correlates with nothing.

    Example:
        >>> sine = torch.sin(2 * torch.pi * torch.arange(200) / 40)
        >>> int(autocorrelation(sine, 120)[20:].argmax()) + 20
        40
    """
    lags = frames.shape[-1] - window + 1
    total = F.pad(frames.square().cumsum(-1), (1, 0))
    energy = (total[..., window:] - total[..., :lags]).clamp_min(0.0)
    length = 2 ** math.ceil(math.log2(frames.shape[-1] + window))
    first, whole = (torch.fft.rfft(x, length) for x in (frames[..., :window], frames))
    product = torch.fft.irfft(first.conj() * whole, length)[..., :lags]
    return product / (energy[..., :1] * energy + floor).sqrt()


def correlation_near(frames: Tensor, lag: Tensor, window: int, reach: int = 1) -> Tensor:
    """Correlation of the first `window` samples of each frame with those one lag later, means removed.

    It is the largest one within `reach` samples of the lag.

    Shape:
        frames: (B, C, F, S), lag: (B, F), whole numbers up to S - window - reach -> (B, C, F) in -1..1
    """
    now = _standardised(frames[..., :window])
    near = []
    for offset in range(-reach, reach + 1):
        index = (lag + offset)[:, None, :, None] + torch.arange(window, device=frames.device)
        later = _standardised(frames.gather(3, index.expand(-1, frames.shape[1], -1, -1)))
        near.append((now * later).sum(-1))
    return torch.stack(near).amax(0)


def pitch_periods(x: Tensor, min_lag: int, max_lag: int, blocks: int) -> tuple[Tensor, Tensor]:
    """Where audio (B, T) repeats itself: a distribution over lags (B, L, N), and how strongly, (B, N) in 0..1.

    A window around each of N blocks (about two of the longest lags) is compared with itself one lag earlier. An octave
    costs 0.03, so that of two lags that explain the audio equally well the shorter wins. Only the band of the lower
    harmonics counts: noise above it hides the period of a creaking voice, and rumble below it has none.
    """
    window, sharpness, per_octave = 4 * (max_lag // 2), 0.02, 0.03
    x = _band(x, 1.0 / max_lag, 16.0 / max_lag)
    step = x.shape[1] // blocks
    left = window // 2 - step // 2 + max_lag
    frames = F.pad(x, (left, window + max_lag)).unfold(-1, window + max_lag, step)[:, :blocks]
    # Reversed in time, a lag earlier is a lag later.
    ncc = autocorrelation(frames.flip(-1), window, 1e-12)[..., min_lag:]
    lags = torch.arange(min_lag, max_lag + 1, device=x.device)
    target = torch.softmax((ncc - per_octave * torch.log2(lags / min_lag)) / sharpness, -1)
    weight = ((ncc.amax(-1) - 0.4) / 0.4).clamp(0.0, 1.0)
    return target.transpose(1, 2), weight


def lag_range(sample_rate: int, lowest_hz: float = 55.0, highest_hz: float = 500.0) -> tuple[int, int]:
    """Shortest and longest pitch period of speech, in samples at `sample_rate` Hz."""
    return math.floor(sample_rate / highest_hz), math.ceil(sample_rate / lowest_hz)


def _band(x: Tensor, lowest: float, highest: float) -> Tensor:
    """The part of (B, T) between two frequencies, in cycles a sample."""
    spectrum = torch.fft.rfft(x)
    frequency = torch.fft.rfftfreq(x.shape[-1], device=x.device)
    return torch.fft.irfft(spectrum * ((frequency >= lowest) & (frequency <= highest)), x.shape[-1])


def _standardised(x: Tensor) -> Tensor:
    """Mean 0 and norm 1 along the last axis; a constant becomes 0."""
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().sum(-1, keepdim=True) + 1e-12).sqrt()
