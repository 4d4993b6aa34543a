"""A voice as one module: the flow, the front end that makes its mels, the post-filter, and what is known about it."""

import torch
from torch import Tensor

from flowvocoder.audio.arrays import Numbers, as_audio
from flowvocoder.checks import as_mel
from flowvocoder.errors import AudioError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.inference import Frozen, plain_defaults
from flowvocoder.mel.conversion import MelConversion, as_source
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.toolkits import Toolkit
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.voice_card import VoiceCard


class Voice(Frozen):
    """What `flowvocoder.vocoder.Vocoder` is made of.

    Args:
        model: the flow. Its weights are frozen.
        card: origin and tuned settings; None: unknown.
        postfilter: what audio goes through after the flow; None: one without networks.
    """

    model: FlowVocoder
    postfilter: PostFilter

    @plain_defaults()
    def __init__(self, model: FlowVocoder, card: VoiceCard | None = None, postfilter: PostFilter | None = None):
        super().__init__()
        self.model = model.requires_grad_(False)
        self.card = card or VoiceCard()
        self.spec: MelSpec = model.spec
        self._front_end = MelFrontEnd(model.spec)
        self.postfilter = (postfilter or PostFilter(model.spec)).requires_grad_(False)
        self._follow_model()
        self.eval()

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
        """Further iterations below 2 kHz that the voice was tuned for."""
        return self.card.postfilter.low_band_iters

    @property
    def device(self) -> torch.device:
        """Of the flow's weights."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the flow's weights."""
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        return next(self.model.parameters())

    def _follow_model(self) -> None:
        """Take front end and post-filter where the flow is, which a person may have moved alone."""
        weight, there = self._weight, (self._front_end.window, self.postfilter.consistency.window)
        if any((window.device, window.dtype) != (weight.device, weight.dtype) for window in there):
            with torch.inference_mode(False):
                self._front_end.to(weight.device, weight.dtype)
                self.postfilter.to(weight.device, weight.dtype)

    def _audio(self, given: Numbers) -> Tensor:
        self._follow_model()
        return as_audio(given, self._weight)

    def _mel(self, given: Numbers, spec: MelSpec | None = None) -> Tensor:
        self._follow_model()
        return as_mel(given, spec or self.spec, self._weight)

    def _serving(self, convention: str | MelSpec | Toolkit | None) -> tuple[MelConversion, PostFilter]:
        """What mels of a convention go through, and what brings audio to them.

        The post-filter's networks know the voice's own mels alone. Raises MelError: the voice cannot serve them.
        """
        self._follow_model()
        conversion = MelConversion(as_source(convention, self.spec), self.spec)
        if conversion.exact:
            return conversion, self.postfilter
        return conversion, PostFilter(conversion.heard).to(self._weight.device, self._weight.dtype).requires_grad_(
            False
        )

    def _pad(self, audio: Tensor) -> Tensor:
        return torch.nn.functional.pad(audio, (0, -audio.shape[-1] % self.spec.hop_length))

    def _aligned(self, audio: Tensor, mel: Numbers | None) -> tuple[Tensor, Tensor]:
        """Audio of whole frames, and its mel. Raises AudioError if they do not fit."""
        hop = self.spec.hop_length
        frames, rest = divmod(audio.shape[-1], hop)
        if rest or frames == 0:
            raise AudioError(f"{audio.shape[-1]} samples are not a whole number of frames of {hop} samples")
        mel = self._front_end(audio) if mel is None else self._mel(mel)
        if mel.shape[-1] == frames + 1:  # centred windows: the last one lies around the end of the audio
            mel = mel[..., :frames]
        if mel.shape[0] != audio.shape[0] or mel.shape[-1] != frames:
            have = f"{mel.shape[0]} mels of {mel.shape[-1]} frames"
            raise AudioError(f"{audio.shape[0]} recordings of {frames} frames do not fit {have}")
        return audio, mel
