"""Takes the model's own hum out of what it synthesised (the denoiser of NVIDIA's WaveGlow).

A flow that handles groups of samples leaves faint tones at multiples of rate / group. They are there without any
noise and without any speech, so their spectrum is measured once and subtracted from what is synthesised.
"""

from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.audio.stft import stft
from flowvocoder.errors import AudioError, ConfigError
from flowvocoder.vocoder import Vocoder

Mode: TypeAlias = Literal["silence", "reference", "normal"]

FRAMES = 88
"""Mel frames of the measurement, as in the reference."""


class Denoiser:
    """Spectral subtraction of a vocoder's bias: what it synthesises from no noise and a mel without speech.

    Args:
        vocoder: any; the spectrum is measured here, once.
        mode: the mel of the measurement. `silence`: of digital silence. `reference`: zeros, as NVIDIA's program has
            it, which in a log-mel is not silence but a loud sound in every band; of the result only the first frame
            is used, as there. `normal`: standard normal numbers from seed 0.

    Attributes:
        level: of the measured hum, in dB of full scale (root mean square). Speech is at about -25: a hum as loud as
            that means that the mode does not suit the model, and that little will be left.
        bias: its magnitude spectrum, (n_fft / 2 + 1, 1).

    Shape:
        audio: (B, T) or (T,) at the vocoder's rate -> (B, T)

    Raises:
        ConfigError: no such mode, or a strength below 0.
        AudioError: audio with other axes.

    Example:
        >>> denoiser = Denoiser(vocoder)
        >>> clean = denoiser(vocoder.synthesize(mel), strength=0.1)
    """

    def __init__(self, vocoder: Vocoder, mode: Mode = "silence"):
        if mode not in get_args(Mode):
            raise ConfigError(f"unknown denoiser mode {mode!r}: there are {', '.join(get_args(Mode))}")
        self.n_fft = vocoder.spec.n_fft
        self.window = torch.hann_window(self.n_fft, device=vocoder.device, dtype=vocoder.dtype)
        hum = vocoder.synthesize(_quiet_mel(vocoder, mode), temperature=0.0, match=0)
        self.level = 10.0 * float(hum.double().square().mean().clamp_min(1e-20).log10())  # dB of full scale
        magnitude = self._spectrum(hum)[0].abs()
        self.bias = magnitude[:, :1] if mode == "reference" else magnitude.mean(1, keepdim=True)

    @torch.inference_mode()
    def __call__(self, audio: Tensor, strength: float) -> Tensor:
        if not 0.0 <= strength < float("inf"):
            raise ConfigError(f"the denoiser's strength must be 0 or above, not {strength}")
        if audio.ndim not in (1, 2):
            raise AudioError(f"an array of shape {tuple(audio.shape)} has {audio.ndim} axes, expected 1 or 2")
        audio = audio.reshape(-1, audio.shape[-1]).to(self.window)
        samples = audio.shape[-1]
        spectrum = self._spectrum(F.pad(audio, (0, max(0, self.n_fft - samples))))  # else too short to be reflected
        magnitude = spectrum.abs()
        gain = (magnitude - strength * self.bias).clamp_min(0.0) / magnitude.clamp_min(1e-20)
        padded = max(samples, self.n_fft)
        clean = torch.istft(spectrum * gain, self.n_fft, self.n_fft // 4, window=self.window, length=padded)
        return clean[:, :samples]

    def _spectrum(self, audio: Tensor) -> Tensor:
        """(B, T) -> (B, n_fft / 2 + 1, frames), complex."""
        return stft(audio, self.n_fft, self.n_fft // 4, window=self.window)


def _quiet_mel(vocoder: Vocoder, mode: Mode) -> Tensor:
    """The mel (n_mels, FRAMES) of the measurement."""
    spec = vocoder.spec
    if mode == "silence":
        return vocoder.mel(torch.zeros(FRAMES * spec.hop_length + spec.n_fft))[0, :, :FRAMES]
    if mode == "normal":
        return torch.randn(spec.n_mels, FRAMES, generator=torch.Generator().manual_seed(0))
    return torch.zeros(spec.n_mels, FRAMES)
