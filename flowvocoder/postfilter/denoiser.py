"""Removes a model's own tones from what it synthesised (the denoiser of NVIDIA's WaveGlow).

A flow that handles groups of samples leaves faint tones at multiples of rate / group. They are there without any noise
and without any speech, so their spectrum is measured once and subtracted.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.audio.arrays import Numbers, as_audio
from flowvocoder.audio.stft import stft
from flowvocoder.errors import ConfigError
from flowvocoder.inference import without_gradients
from flowvocoder.mel.frontend import MelFrontEnd

Mode: TypeAlias = Literal["silence", "reference", "normal"]

FRAMES = 88
"""Mel frames of the measurement, as in the reference."""


class Denoiser:
    """Spectral subtraction of a vocoder's bias: what it synthesises without noise from a mel without speech.

    `Vocoder.denoiser` makes one.

    Args:
        synthesize: mel (n_mels, F) to audio (1, T) at temperature 0; called once, here.
        front_end: of the vocoder's mels.
        mode: the mel of the measurement. `silence`: of digital silence. `reference`: zeros, as in NVIDIA's program; in
            a log-mel this is a loud sound in every band. Only the first frame of the result is used, as there.
            `normal`: standard normal numbers from seed 0.

    Attributes:
        device: where it computes.
        level: of the measured bias, in dB of full scale (root mean square). Speech is at about -25. A bias as loud as
            that means that the mode does not suit the model: little of the speech will be left.
        bias: its magnitude spectrum, (n_fft / 2 + 1, 1).

    Shape:
        audio: (B, T) or (T,) at the vocoder's rate -> (B, T)

    Raises:
        ConfigError: an unknown mode, or a strength below 0.
        AudioError: audio with other axes, or values that are none.

    Example:
        >>> denoiser = vocoder.denoiser()
        >>> clean = denoiser(vocoder.synthesize(mel), strength=0.1)
    """

    def __init__(self, synthesize: Callable[[Tensor], Tensor], front_end: MelFrontEnd, mode: Mode = "silence"):
        if mode not in get_args(Mode):
            raise ConfigError(f"unknown denoiser mode {mode!r}: there are {', '.join(get_args(Mode))}")
        audio = synthesize(_quiet_mel(front_end, mode))
        self.device = audio.device
        self.n_fft = front_end.spec.n_fft
        self.window = torch.hann_window(self.n_fft, device=audio.device, dtype=audio.dtype)
        self.level = 10.0 * float(audio.double().square().mean().clamp_min(1e-20).log10())
        magnitude = self._spectrum(audio)[0].abs()
        self.bias = magnitude[:, :1] if mode == "reference" else magnitude.mean(1, keepdim=True)

    @without_gradients
    def __call__(self, audio: Numbers, strength: float) -> Tensor:
        if not 0.0 <= strength < float("inf"):
            raise ConfigError(f"the denoiser's strength must be 0 or above, not {strength}")
        given = as_audio(audio, self.window)
        samples = given.shape[-1]
        spectrum = self._spectrum(F.pad(given, (0, max(0, self.n_fft - samples))))  # else too short to be reflected
        magnitude = spectrum.abs()
        gain = (magnitude - strength * self.bias).clamp_min(0.0) / magnitude.clamp_min(1e-20)
        padded = max(samples, self.n_fft)
        clean = torch.istft(spectrum * gain, self.n_fft, self.n_fft // 4, window=self.window, length=padded)
        return clean[:, :samples]

    def _spectrum(self, audio: Tensor) -> Tensor:
        """(B, T) -> (B, n_fft / 2 + 1, frames), complex."""
        return stft(audio, self.n_fft, self.n_fft // 4, window=self.window)


def _quiet_mel(front_end: MelFrontEnd, mode: Mode) -> Tensor:
    """The mel (n_mels, FRAMES) of the measurement."""
    spec = front_end.spec
    if mode == "silence":
        silence = torch.zeros(FRAMES * spec.hop_length + spec.n_fft, device=front_end.window.device)
        mel: Tensor = front_end(silence)[:, :FRAMES]
        return mel
    if mode == "normal":
        return torch.randn(spec.n_mels, FRAMES, generator=torch.Generator().manual_seed(0))
    return torch.zeros(spec.n_mels, FRAMES)
