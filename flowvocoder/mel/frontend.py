"""The one implementation of the mel spectrogram."""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.stft import stft
from flowvocoder.errors import AudioError
from flowvocoder.extras import librosa
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.spec import MelSpec, edge_padding

MOST_BINS = 2**25
"""Of a spectrogram that is computed for a model: a mel with long frames, close together, would take any memory."""


class MelFrontEnd(nn.Module):
    """Audio to log-mel spectrogram, as `spec` defines it.

    Shape:
        audio: (..., T) in [-1, 1) -> (..., n_mels, F)

    Raises:
        AudioError: audio too short for the reflection at its ends.
    """

    window: Tensor
    filterbank: Tensor

    @plain_defaults()
    def __init__(self, spec: MelSpec):
        super().__init__()
        self.spec = spec
        self.register_buffer("window", torch.hann_window(spec.win_length), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(spec), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        spec = self.spec
        left, right = edge_padding(spec)
        if audio.shape[-1] <= max(left, right):
            raise AudioError(
                f"{audio.shape[-1]} samples are too few for a mel with n_fft {spec.n_fft}:"
                f" at least {max(left, right) + 1} are needed"
            )
        flat = F.pad(audio.reshape(-1, audio.shape[-1]), (left, right), mode="reflect")
        mel = self.frames(flat)
        return mel.reshape(*audio.shape[:-1], *mel.shape[1:])

    def frames(self, padded: Tensor) -> Tensor:
        """Mel of audio that already has its context: (B, n_fft + (F - 1) * hop_length) -> (B, n_mels, F)."""
        spec = self.spec
        window = self.window.to(padded.dtype)
        spectrum = stft(padded, spec.n_fft, spec.hop_length, spec.win_length, window=window, center=False)
        magnitude = spectrum.abs()
        if spec.magnitude_eps:
            magnitude = (magnitude.square() + spec.magnitude_eps).sqrt()
        mel = (self.filterbank.to(padded.dtype) @ magnitude).clamp_min(spec.floor)
        return mel.log10() if spec.log == "log10" else mel.log()


@plain_defaults()
def mel_filterbank(spec: MelSpec) -> Tensor:
    """Triangular filters (n_mels, n_fft / 2 + 1): torchaudio's, or librosa's where torchaudio cannot be imported."""
    norm: Literal["slaney"] | None = None if spec.norm == "none" else spec.norm
    try:
        import torchaudio
    except (ImportError, OSError):  # its CUDA build beside a CPU-only torch
        return _filterbank_of_librosa(spec, norm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bands narrower than a bin, which are empty
        filters: Tensor = torchaudio.functional.melscale_fbanks(
            spec.n_fft // 2 + 1, spec.fmin, spec.fmax, spec.n_mels, spec.sample_rate, norm, spec.mel_scale
        )
    return filters.T.contiguous()


def _filterbank_of_librosa(spec: MelSpec, norm: Literal["slaney"] | None) -> Tensor:
    """The same to float32's rounding."""
    return torch.from_numpy(
        librosa().filters.mel(
            sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin, fmax=spec.fmax,
            htk=spec.mel_scale == "htk", norm=norm,
        )
    )  # fmt: skip


@plain_defaults()
def unit_noise_level(spec: MelSpec, seconds: float = 20.0) -> Tensor:
    """Mean log-mel, (n_mels,), of white Gaussian noise of standard deviation 1; what turns a mel into an envelope.

    It is measured in `seconds` of noise, or less for frames that are long and close.
    """
    generator = torch.Generator().manual_seed(0)
    longest = spec.n_fft + spec.hop_length * (MOST_BINS // (spec.n_fft // 2 + 1))
    noise = torch.randn(min(int(spec.sample_rate * seconds), longest), generator=generator)
    return MelFrontEnd(spec)(noise).mean(-1)


@plain_defaults()
def band_centres(spec: MelSpec) -> Tensor:
    """Frequency in Hz, (n_mels,), at the centre of mass of each band's filter."""
    weights = MelFrontEnd(spec).filterbank.double()
    hz = torch.linspace(0.0, spec.sample_rate / 2, spec.n_fft // 2 + 1, dtype=torch.float64)
    mass = weights.sum(1).clamp_min(1e-12)  # a band narrower than a bin may be empty
    return ((weights @ hz) / mass).float()


@plain_defaults()
def interpolation(centres: Tensor, hz: Tensor) -> Tensor:
    """What interpolates values at some frequencies linearly, constant beyond the first and the last: (centres, hz)."""
    upper = torch.searchsorted(centres, hz).clamp(1, len(centres) - 1)
    low, high = centres[upper - 1], centres[upper]
    share = ((hz - low) / (high - low).clamp_min(1e-6)).clamp(0.0, 1.0)
    weight = torch.zeros(len(centres), len(hz))
    columns = torch.arange(len(hz))
    weight[upper - 1, columns] += 1.0 - share
    weight[upper, columns] += share
    return weight
