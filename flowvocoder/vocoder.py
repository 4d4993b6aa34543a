"""The class most users need: mel to audio, audio to noise and back, and the likelihood of a recording."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowvocoder.checkpoint import BUNDLED_VOICE, load_checkpoint
from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.models.flow_vocoder import FlowVocoder, dequantise
from flowvocoder.units import PCM16_STEP, ceil_div

DEFAULT_TEMPERATURE = 0.8


class Vocoder:
    """A trained flow vocoder, ready for inference.

    Shape:
        audio (B, T) or (T,) in [-1, 1); mel (B, n_mels, F) or (n_mels, F); noise (B, M, N), N blocks of M samples.
        Results always have the batch axis. B, F and N belong together: F * hop_length = N * M samples.

    Example:
        >>> vocoder = Vocoder.from_pretrained()
        >>> audio = vocoder.synthesize(vocoder.mel(recording), temperature=0.7)
    """

    def __init__(self, model: FlowVocoder, about: dict[str, Any] | None = None):
        self.model = model.eval().requires_grad_(False)
        self.about = about or {}
        self.spec: MelSpec = model.spec
        parameter = next(model.parameters())
        self.device = parameter.device
        self.dtype = parameter.dtype
        self._front_end = MelFrontEnd(model.spec).to(self.device)

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, device: str | torch.device = "cpu") -> "Vocoder":
        """Load a checkpoint folder, or the bundled voice if none is named.

        Raises:
            CheckpointError: it is missing, truncated, altered or of a newer format.
        """
        checkpoint = load_checkpoint(BUNDLED_VOICE if path is None else Path(path), device)
        return cls(checkpoint.model, checkpoint.about)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.spec.sample_rate

    @property
    def temperature(self) -> float:
        """The temperature the checkpoint was tuned for: standard deviation of the noise in synthesis."""
        value = self.about.get("temperature", DEFAULT_TEMPERATURE)
        return float(value) if isinstance(value, int | float) else DEFAULT_TEMPERATURE

    @torch.inference_mode()
    def mel(self, audio: Tensor) -> Tensor:
        """Mel spectrogram, as the model wants it, of audio at `sample_rate`.

        Raises:
            AudioError: too short.
        """
        mel: Tensor = self._front_end(self._batch(audio, 1))
        return mel

    @torch.inference_mode()
    def synthesize(
        self, mel: Tensor, temperature: float | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Audio (B, F * hop_length) for a mel.

        Args:
            temperature: standard deviation of the noise: 0 gives the most likely noise (buzzy), 1 samples the model's
                own distribution (hoarse where the model is unsure). None: the checkpoint's own.
            generator: a CPU generator; the same state gives the same audio. None: torch's global one.

        Raises:
            MelError: wrong number of bands, no frames, or values that are not finite.
        """
        mel = self._checked_mel(mel)
        return self._decode(self.draw_noise(mel, temperature, generator), mel)

    def draw_noise(self, mel: Tensor, temperature: float | None, generator: torch.Generator | None) -> Tensor:
        """The noise that `synthesize` decodes. Drawn on the CPU, so that a seed means the same on every device."""
        temperature = self.temperature if temperature is None else temperature
        if not 0.0 <= temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or above, not {temperature}")
        noise = torch.randn(self.model.noise_shape(mel), generator=generator, dtype=torch.float32)
        return temperature * noise.to(self.device, self.dtype)

    @torch.inference_mode()
    def encode(self, audio: Tensor, mel: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Audio to (noise, mel). Audio is padded with zeros to whole frames; `decode` gives it back, zeros included.

        Raises:
            AudioError: too short, or its length does not fit the mel given.
        """
        audio, mel = self._aligned(self._pad(self._batch(audio, 1)), mel)
        return self.model.encode(audio, mel)[0], mel

    @torch.inference_mode()
    def decode(self, noise: Tensor, mel: Tensor) -> Tensor:
        """Noise to audio, (B, F * hop_length); the inverse of `encode`.

        Raises:
            MelError: noise and mel do not belong together.
        """
        mel = self._checked_mel(mel)
        noise = self._batch(noise, 2)
        if tuple(noise.shape) != self.model.noise_shape(mel):
            raise MelError(f"noise of shape {tuple(noise.shape)} does not fit a mel of shape {tuple(mel.shape)}")
        return self._decode(noise, mel)

    @torch.inference_mode()
    def log_prob(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Log-density (B,) in nats of audio given its mel (computed if not given), exactly as it stands.

        The density is that of real-valued audio in [-1, 1). To score 16-bit recordings add dequantisation noise
        first, or use `score`.

        Raises:
            AudioError: the length is no multiple of hop_length, or does not fit the mel.
        """
        audio, mel = self._aligned(self._batch(audio, 1), mel)
        return self.model.log_prob(audio, mel)

    def score(self, audio: Tensor, mel: Tensor | None = None, seed: int = 0) -> Tensor:
        """Nats per sample (B,) of 16-bit recordings: uniform dequantisation, the last incomplete frame left out.

        Audio that is not on the 16-bit grid (resampled, averaged, 24-bit) is rounded to it, so that what is scored is
        always a 16-bit recording.

        Args:
            mel: given mels are used from their first frame on and must cover the audio.

        Raises:
            AudioError: shorter than the mel's analysis window, or than the mel given.
        """
        audio, mel = self._as_recorded(audio, mel, seed)
        return self.log_prob(audio, mel) / audio.shape[-1]

    @torch.inference_mode()
    def score_by_frame(self, audio: Tensor, mel: Tensor | None = None, seed: int = 0) -> Tensor:
        """What each mel frame contributes to `score`: nats (B, F), whose sum is the score times its samples.

        Args, Raises:
            as `score`.
        """
        return self.model.log_prob_by_frame(*self._aligned(*self._as_recorded(audio, mel, seed)))

    def resynthesize(
        self, audio: Tensor, temperature: float | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Audio -> mel -> audio of the same length, (B, T)."""
        audio = self._batch(audio, 1)
        mel = self.mel_for(audio)
        return self.synthesize(mel, temperature, generator)[:, : audio.shape[-1]]

    @torch.inference_mode()
    def mel_for(self, audio: Tensor) -> Tensor:
        """The mel (B, n_mels, ceil(T / hop_length)) whose synthesis covers the audio."""
        padded = self._pad(self._batch(audio, 1))
        return self._front_end(padded)[..., : padded.shape[-1] // self.spec.hop_length]

    def _as_recorded(self, audio: Tensor, mel: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
        """16-bit audio in whole frames with dequantisation noise, and its mel."""
        audio = (self._batch(audio, 1) / PCM16_STEP).round() * PCM16_STEP
        mel = self._front_end(audio) if mel is None else self._checked_mel(mel)
        frames = audio.shape[-1] // self.spec.hop_length
        noise = torch.Generator().manual_seed(seed)
        whole = audio[:, : frames * self.spec.hop_length].cpu()
        return dequantise(whole, PCM16_STEP, noise).to(self.device), mel[..., :frames]

    def _decode(self, noise: Tensor, mel: Tensor) -> Tensor:
        audio = self.model.decode(noise, mel)
        if not torch.isfinite(audio).all():
            raise MelError("synthesis gives values that are not finite: mel or temperature are too large")
        return audio

    def _pad(self, audio: Tensor) -> Tensor:
        hop = self.spec.hop_length
        return torch.nn.functional.pad(audio, (0, ceil_div(audio.shape[-1], hop) * hop - audio.shape[-1]))

    def _aligned(self, audio: Tensor, mel: Tensor | None) -> tuple[Tensor, Tensor]:
        hop = self.spec.hop_length
        frames, rest = divmod(audio.shape[-1], hop)
        if rest or frames == 0:
            raise AudioError(f"{audio.shape[-1]} samples are not a whole number of frames of {hop} samples")
        mel = self._front_end(audio)[..., :frames] if mel is None else self._checked_mel(mel)
        if mel.shape[0] != audio.shape[0] or mel.shape[-1] != frames:
            have = f"{mel.shape[0]} mels of {mel.shape[-1]} frames"
            raise AudioError(f"{audio.shape[0]} recordings of {frames} frames do not fit {have}")
        return audio, mel

    def _checked_mel(self, mel: Tensor) -> Tensor:
        mel = self._batch(mel, 2)
        if mel.shape[1] != self.spec.n_mels or mel.shape[2] == 0:
            hint = "; it looks transposed" if mel.shape[2] == self.spec.n_mels else ""
            raise MelError(f"mel of shape {tuple(mel.shape)}: expected (B, {self.spec.n_mels}, F){hint}")
        if not torch.isfinite(mel).all():
            raise MelError("mel holds values that are NaN or infinite")
        return mel

    def _batch(self, x: Tensor, axes: int) -> Tensor:
        """With a batch axis before `axes` others, on the model's device and in its dtype."""
        x = torch.as_tensor(x)
        if x.ndim == axes:
            x = x[None]
        kind = AudioError if axes == 1 else MelError
        if x.ndim != axes + 1:
            raise kind(f"an array of shape {tuple(x.shape)} has {x.ndim} axes, expected {axes} or {axes + 1}")
        if not x.is_floating_point():
            raise kind(f"an array of {x.dtype}: expected floating-point numbers (audio in -1..1)")
        return x.to(self.device, self.dtype)
