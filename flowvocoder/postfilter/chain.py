"""The post-filter: everything that happens to audio after the flow."""

import torch
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.arithmetic import Arithmetic, MachineCode
from flowvocoder.postfilter.consistency import PLAIN, Iteration, MelConsistency
from flowvocoder.postfilter.frame_by_frame import FrameByFrame
from flowvocoder.postfilter.geometry import in_whole_hops
from flowvocoder.postfilter.guide import Guide, guided_part
from flowvocoder.postfilter.guided import PIECE, GuidedIterations
from flowvocoder.postfilter.latency import of_stream, within
from flowvocoder.postfilter.low_band import LowBand, LowBandStage
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.postfilter.stages import Stage, Stages


class PostFilter(nn.Module):
    """Mel-consistency iterations: by frame, over all bands, over the low band; of these, a guide guides some.

    Args:
        spec: of the mels.
        guide: guides a round of the low-band iterations (`guided_part`); None: all are unguided.

    Shape:
        audio: (B, F * hop_length), mel: (B, n_mels, F) -> as audio

    Example:
        >>> postfilter = PostFilter(spec := MelSpec())
        >>> audio, mel = torch.randn(1, 40 * spec.hop_length), torch.full((1, spec.n_mels, 40), -3.0)
        >>> postfilter(audio, mel, PostfilterSettings(gl_iters=4, low_band_iters=8)).shape
        torch.Size([1, 10240])
    """

    @plain_defaults()
    def __init__(self, spec: MelSpec, guide: Guide | None = None):
        super().__init__()
        self.consistency = MelConsistency(spec)
        self.low_band = LowBand(spec) if guide is None else guide.band
        self.guide = guide

    def forward(
        self,
        audio: Tensor,
        mel: Tensor,
        settings: PostfilterSettings,
        lengths: Tensor | None = None,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        return self.stages(settings, lengths, precision).push(mel, audio, ends=True)

    def stages(
        self,
        settings: PostfilterSettings,
        lengths: Tensor | None = None,
        precision: torch.dtype | None = None,
        compiled: bool = False,
        piece: int = PIECE,
    ) -> Stages:
        """The same for audio that is still being made.

        Args:
            lengths: frames of each item in all, (B,), where they differ; audio after them comes out as zeros.
            precision: of the guide network; None: that of the audio.
            compiled: by numba, where that is quicker.
            piece: mel frames that guided iterations take at a time.
        """
        arithmetic = MachineCode() if compiled else PLAIN
        chain: list[Stage] = []
        if settings.rounds:
            chain.append(FrameByFrame(self.consistency, self.low_band, settings, lengths, compiled))
        chain += [Iteration(self.consistency, number, lengths, arithmetic) for number in range(settings.gl_iters)]
        if settings.low_band_iters:
            inner = self._low_band_stages(settings.low_band_iters, lengths, precision, piece, arithmetic)
            chain.append(LowBandStage(self.low_band, inner, lengths))
        return Stages(chain)

    def _low_band_stages(
        self, count: int, lengths: Tensor | None, precision: torch.dtype | None, piece: int, arithmetic: Arithmetic
    ) -> Stages:
        """So many iterations at the low rate, of which the guide guides those of `guided_part`."""
        band, guide = self.low_band, self.guide
        first, guided, last = guided_part(count)
        if guide is None or not guided:
            return Stages([band.iterations(count, lengths, arithmetic)])
        middle = GuidedIterations(guide, lengths, precision, piece, arithmetic)
        before, after = (band.iterations(n, lengths, arithmetic) for n in (first, last))
        return Stages([before, middle, after])

    def choose(
        self,
        voice: PostfilterSettings,
        before: int,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        latency_ms: float | None = None,
        streams: bool = False,
    ) -> PostfilterSettings:
        """The iterations for what a person asks for; None: the voice's own.

        Args:
            before: as in `delay`.
            streams: the voice's own are those of `of_stream`, and 0 low-band ones beside other `gl_iters`.

        Raises:
            ConfigError: a latency that is too short, or iterations beside it.
        """
        if latency_ms is None:
            if streams and gl_iters is None and low_band_iters is None:
                return of_stream(voice)
            return voice.chosen(gl_iters, 0 if streams and low_band_iters is None else low_band_iters)
        if gl_iters is not None or low_band_iters is not None:
            raise ConfigError("a latency decides on the iterations: give one or the others, not both")
        spec = self.consistency.spec
        return within(latency_ms, lambda settings: self.delay(settings, before), spec.sample_rate)

    def delay(self, settings: PostfilterSettings, before: int) -> int:
        """Samples by which the output is behind the mel in a stream, at most.

        Args:
            before: samples by which the audio that goes in is.
        """
        stages = self.stages(settings)
        if settings.rounds:
            before = in_whole_hops(before, self.consistency, settings.look_ahead)
        return before + stages.behind
