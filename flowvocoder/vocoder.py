"""The class most users need: mel to audio, audio to latent and back, and the likelihood of a recording."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from flowvocoder.checkpoint import BUNDLED_VOICE, load_checkpoint
from flowvocoder.errors import AudioError, ConfigError, MelError
from flowvocoder.flows.density import FlowVocoder, dequantise
from flowvocoder.inference import without_gradients
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.streaming import MelStream
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.denoiser import Denoiser, Mode
from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.engines import Engine, ModelSteps, Precision, check_engine, reduced
from flowvocoder.streaming.noise import NoiseSource, Seeds, item_seeds
from flowvocoder.streaming.session import Session, from_tensor, pieces
from flowvocoder.streaming.stream import Stream
from flowvocoder.units import PCM16_STEP
from flowvocoder.voice_card import VoiceCard


class Vocoder:
    """A trained flow vocoder, ready for inference.

    Shape:
        audio (B, T) or (T,) in [-1, 1); mel (B, n_mels, F) or (n_mels, F); latent (B, M, N), N blocks of M samples.
        Results always have the batch axis. B, F and N belong together: F * hop_length = N * M samples.

    Args:
        model: the flow.
        card: origin and tuned settings; None: unknown.
        postfilter: what audio goes through after the flow; None: one without a guide network.
        engine, precision: as in `from_pretrained`.

    Wherever something is drawn, `seed` is a number (item i of a batch is what it is alone with seed + i), one number
    per item, a CPU `torch.Generator` to draw them from, or None for PyTorch's global generator.

    No method records gradients. Results are ordinary tensors, which can be changed and be the input of a network that
    is trained. Autocast around a call changes nothing: `precision` alone says what the networks compute in. Methods
    use one CPU thread, whatever PyTorch's number is, unless `flowvocoder.threads.set_threads` asks for more.

    Example:
        >>> vocoder = Vocoder.from_pretrained()
        >>> audio = vocoder.synthesize(vocoder.mel(recording), temperature=0.7)
    """

    def __init__(
        self,
        model: FlowVocoder,
        card: VoiceCard | None = None,
        postfilter: PostFilter | None = None,
        engine: Engine = "eager",
        precision: Precision = "float32",
    ):
        check_engine(engine, precision)
        self.model = model.eval().requires_grad_(False)
        self.card = card or VoiceCard()
        self.spec: MelSpec = model.spec
        self.device, self.dtype = next((p.device, p.dtype) for p in model.parameters())
        self._front_end = MelFrontEnd(model.spec).to(self.device)
        self.postfilter = (postfilter or PostFilter(model.spec)).to(self.device, self.dtype).requires_grad_(False)
        self._steps, self._precision = ModelSteps(model, engine, precision), reduced(precision)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str | torch.device = "cpu",
        engine: Engine = "eager",
        precision: Precision = "float32",
    ) -> "Vocoder":
        """Load a checkpoint folder, or the bundled voice if none is named.

        Args:
            engine: what runs synthesis: `eager`, PyTorch alone; `numba`, which compiles the pitch recursion; or
                `compile`, which compiles steps of a size that comes back (a minute each) and on a GPU replays them as
                CUDA graphs.
            precision: of most networks in synthesis; the rest, and encoding and likelihood, are float32.

        Raises:
            CheckpointError: it is missing, truncated, altered or of a newer format.
            ConfigError: engine or precision are unknown, or not installed.
        """
        checkpoint = load_checkpoint(BUNDLED_VOICE if path is None else Path(path), device)
        return cls(checkpoint.model, checkpoint.card, checkpoint.postfilter, engine, precision)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.spec.sample_rate

    @property
    def temperature(self) -> float:
        """The temperature the voice was tuned for: standard deviation of the noise in synthesis."""
        return self.card.temperature

    @property
    def gl_iters(self) -> int:
        """Mel-consistency (Griffin-Lim) iterations that the voice was tuned for."""
        return self.card.postfilter.gl_iters

    @property
    def low_band_iters(self) -> int:
        """Further iterations below 1 kHz that the voice was tuned for."""
        return self.card.postfilter.low_band_iters

    @without_gradients
    def mel(self, audio: Tensor) -> Tensor:
        """Mel spectrogram, as the model wants it, of audio at `sample_rate`.

        Raises:
            AudioError: too short.
        """
        mel: Tensor = self._front_end(self._batch(audio, 1))
        return mel

    def mel_stream(self) -> MelStream:
        """Frames of audio that is still coming in: what `mel_for` gives of the whole."""
        return MelStream(self._front_end)

    @without_gradients
    def synthesize(
        self,
        mel: Tensor,
        temperature: float | None = None,
        *,
        seed: Seeds = None,
        lengths: Sequence[int] | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
    ) -> Tensor:
        """Audio (B, F * hop_length) for a mel: the flow's sample, then the post-filter.

        An item of a batch comes out as it does alone, and as `stream` gives it, whatever the length of the batch.

        Args:
            temperature: standard deviation of the noise: 0 gives the most likely noise (buzzy), 1 samples the model's
                own distribution (hoarse where the model is unsure). None: the voice's own.
            seed: of the noise; see `Vocoder`.
            lengths: frames of each item where the others are padding; the audio after them is zeros.
            gl_iters: mel-consistency (Griffin-Lim) iterations; 0: the flow's sample as it is. None: the voice's own.
            low_band_iters: further ones below 1 kHz; a guide network guides those after the first 8, in rounds of 16.
                None: the voice's own; 0 if gl_iters is 0.

        Raises:
            MelError: wrong number of bands, no frames, values that are not finite, or lengths that do not fit.
            ConfigError: temperature or iterations are negative, or there are not as many seeds as items.
        """
        iterations = {"gl_iters": gl_iters, "low_band_iters": low_band_iters}
        return torch.cat(list(self.synthesize_pieces(mel, temperature, seed=seed, lengths=lengths, **iterations)), 1)

    @without_gradients
    def synthesize_pieces(
        self,
        mel: Tensor,
        temperature: float | None = None,
        *,
        seed: Seeds = None,
        lengths: Sequence[int] | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
    ) -> Iterator[Tensor]:
        """What `synthesize` gives, (B, T) after (B, T), in memory that does not grow with the length."""
        mel = self._checked_mel(mel)
        frames = self._checked_lengths(mel, lengths)
        noise = self._noise(len(mel), temperature, seed)
        step, stages = self._steps.for_mel(mel), self._stages(gl_iters, low_band_iters, frames)
        if step is not None:
            for audio in pieces(step, mel, noise, frames, stages):
                yield self._checked_audio(audio)
            return
        drawn = noise(mel.shape[2]).to(mel).transpose(1, 2)
        yield self._checked_audio(stages.push(mel, self.model.sample_items(drawn, mel, frames), ends=True))

    @without_gradients
    def stream(
        self,
        temperature: float | None = None,
        seed: Seeds = None,
        gl_iters: int | None = None,
        low_band_iters: int = 0,
    ) -> Stream:
        """Synthesis of a mel that is not there yet: `push` frames, get samples, `flush` at the end.

        The samples together are those of `synthesize` with the same seed and iterations, whatever the chunks: to
        rounding, 1e-4, or ten times as much after low-band iterations.

        Args:
            gl_iters, low_band_iters: as in `synthesize`. Each iteration delays the audio by an analysis window (n_fft
                samples), so no low-band ones run unless they are requested.

        Raises:
            ConfigError: this model cannot stream, or temperature or iterations are negative.
        """
        stages = self._stages(gl_iters, low_band_iters)
        session = Session(self._steps.require(), self._noise(1, temperature, seed), stages)
        return Stream(session, self.look_ahead + stages.behind, self.spec, self._checked_mel, self._checked_audio)

    @property
    @without_gradients
    def look_ahead(self) -> int:
        """Samples that the flow is behind in a `stream`; every mel-consistency iteration adds `spec.n_fft`.

        Raises:
            ConfigError: this model cannot stream.
        """
        step = self._steps.require()
        return step.delay * step.block

    @property
    @without_gradients
    def look_back(self) -> float:
        """Samples after the end of a frame that it can still change; infinite with a pitch predictor, which recurs.

        Raises:
            ConfigError: this model cannot stream.
        """
        step = self._steps.require()
        return step.back * step.block

    def draw_noise(self, mel: Tensor, temperature: float | None = None, seed: Seeds = None) -> Tensor:
        """The noise (B, M, N) that `synthesize` decodes."""
        return self._noise(len(mel), temperature, seed)(mel.shape[-1]).transpose(1, 2).to(self.device, self.dtype)

    def denoiser(self, mode: Mode = "silence") -> Denoiser:
        """What removes this voice's own tones from its audio, measured now. Raises ConfigError: an unknown mode."""
        with torch.autocast(self.device.type, enabled=False):
            return Denoiser(partial(self.synthesize, temperature=0.0, gl_iters=0), self._front_end, mode)

    def _stages(self, gl_iters: int | None, low_band_iters: int | None, lengths: Tensor | None = None) -> Stages:
        settings = self.card.postfilter.chosen(gl_iters, low_band_iters)
        return self.postfilter.stages(settings, lengths, self._precision)

    def _noise(self, items: int, temperature: float | None, seeds: Seeds) -> Callable[[int], Tensor]:
        temperature = self.temperature if temperature is None else temperature
        if not 0.0 <= temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or above, not {temperature}")
        rate = self.spec.hop_length // self.model.block
        source = NoiseSource(seeds, items, rate, self.model.block)
        return lambda frames: temperature * source.draw(frames)

    @without_gradients
    def encode(self, audio: Tensor, mel: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Audio to (latent, mel). Audio is padded with zeros to whole frames; `decode` gives it back, zeros included.

        Args:
            mel: of as many frames; the one frame more that `mel` gives is left out. None: computed.

        Raises:
            AudioError: too short, or its length does not fit the mel given.
        """
        audio, mel = self._aligned(self._pad(self._batch(audio, 1)), mel)
        return self.model.encode(audio, mel)[0], mel

    @without_gradients
    def decode(self, latent: Tensor, mel: Tensor) -> Tensor:
        """Latent to audio, (B, F * hop_length); the inverse of `encode`.

        Raises:
            MelError: latent and mel do not belong together.
        """
        mel = self._checked_mel(mel)
        latent = self._batch(latent, 2)
        if tuple(latent.shape) != self.model.latent_shape(mel):
            raise MelError(f"a latent of shape {tuple(latent.shape)} does not fit a mel of shape {tuple(mel.shape)}")
        step = self._steps.for_mel(mel, sampling=False)
        if step is None:
            return self._checked_audio(self.model.decode(latent, mel))
        return self._checked_audio(torch.cat(list(pieces(step, mel, from_tensor(latent, step.rate))), 1))

    @without_gradients
    def log_prob(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Log-density (B,) in nats of audio given its mel (computed if not given), exactly as it stands.

        The density is that of real-valued audio in [-1, 1). To score 16-bit recordings add dequantisation noise
        first, or use `score`.

        Args:
            mel: of as many frames; the one frame more that `mel` gives is left out. None: computed.

        Raises:
            AudioError: the length is no multiple of hop_length, or does not fit the mel.
        """
        audio, mel = self._aligned(self._batch(audio, 1), mel)
        return self.model.log_prob(audio, mel)

    @without_gradients
    def score(self, audio: Tensor, mel: Tensor | None = None, seed: Seeds = 0) -> Tensor:
        """Nats per sample (B,) of 16-bit recordings: uniform dequantisation, the last incomplete frame left out.

        Audio that is not on the 16-bit grid (resampled, averaged, 24-bit) is rounded to it, so that what is scored is
        always a 16-bit recording.

        Args:
            mel: given mels are used from their first frame on and must cover the audio.
            seed: of the dequantisation noise; see `Vocoder`.

        Raises:
            AudioError: shorter than the mel's analysis window, or than the mel given.
        """
        audio, mel = self._as_recorded(audio, mel, seed)
        return self.log_prob(audio, mel) / audio.shape[-1]

    @without_gradients
    def score_by_frame(self, audio: Tensor, mel: Tensor | None = None, seed: Seeds = 0) -> Tensor:
        """What each mel frame contributes to `score`: nats (B, F), whose sum is the score times its samples.

        Args, Raises:
            as `score`.
        """
        return self.model.log_prob_by_frame(*self._aligned(*self._as_recorded(audio, mel, seed)))

    def resynthesize(self, audio: Tensor, temperature: float | None = None, *, seed: Seeds = None) -> Tensor:
        """Audio -> mel -> audio of the same length, (B, T)."""
        audio = self._batch(audio, 1)
        mel = self.mel_for(audio)
        return self.synthesize(mel, temperature, seed=seed)[:, : audio.shape[-1]]

    @without_gradients
    def mel_for(self, audio: Tensor) -> Tensor:
        """The mel (B, n_mels, ceil(T / hop_length)) whose synthesis covers the audio."""
        padded = self._pad(self._batch(audio, 1))
        return self._front_end(padded)[..., : padded.shape[-1] // self.spec.hop_length]

    @without_gradients
    def prepare(self) -> None:
        """Make the weights ready for synthesis now, which the first synthesis otherwise does."""
        self._steps.find()

    def _as_recorded(self, audio: Tensor, mel: Tensor | None, seed: Seeds) -> tuple[Tensor, Tensor]:
        """16-bit audio in whole frames with dequantisation noise, and its mel."""
        audio = (self._batch(audio, 1) / PCM16_STEP).round() * PCM16_STEP
        mel = self._front_end(audio) if mel is None else self._checked_mel(mel)
        frames = audio.shape[-1] // self.spec.hop_length
        whole = audio[:, : frames * self.spec.hop_length].cpu()
        drawn = zip(whole, item_seeds(seed, len(whole)), strict=True)
        noisy = [dequantise(one, PCM16_STEP, torch.Generator().manual_seed(number)) for one, number in drawn]
        return torch.stack(noisy).to(self.device), mel[..., :frames]

    def _checked_audio(self, audio: Tensor) -> Tensor:
        if not torch.isfinite(audio).all():
            raise MelError("synthesis gives values that are not finite: mel or temperature are too large")
        return audio

    def _checked_lengths(self, mel: Tensor, lengths: Sequence[int] | None) -> Tensor | None:
        if lengths is None:
            return None
        wrong = [n for n in lengths if not 1 <= n <= mel.shape[2]]
        if wrong or len(lengths) != len(mel):
            have = f"a batch of {len(mel)} mels of up to {mel.shape[2]} frames"
            raise MelError(f"lengths {list(lengths)} do not fit {have}")
        return torch.as_tensor(list(lengths), device=self.device)

    def _pad(self, audio: Tensor) -> Tensor:
        return torch.nn.functional.pad(audio, (0, -audio.shape[-1] % self.spec.hop_length))

    def _aligned(self, audio: Tensor, mel: Tensor | None) -> tuple[Tensor, Tensor]:
        hop = self.spec.hop_length
        frames, rest = divmod(audio.shape[-1], hop)
        if rest or frames == 0:
            raise AudioError(f"{audio.shape[-1]} samples are not a whole number of frames of {hop} samples")
        mel = self._front_end(audio) if mel is None else self._checked_mel(mel)
        if mel.shape[-1] == frames + 1:  # centred windows: the last one lies around the end of the audio
            mel = mel[..., :frames]
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
