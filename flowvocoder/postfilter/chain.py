"""The post-filter: everything that happens to audio after the flow."""

import torch
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.arithmetic import PYTORCH, MachineCode
from flowvocoder.postfilter.consistency import Band, Iteration, MelConsistency
from flowvocoder.postfilter.frame_by_frame import FrameByFrame
from flowvocoder.postfilter.geometry import in_whole_hops
from flowvocoder.postfilter.guide import GUIDED, UNGUIDED_FIRST, Guide
from flowvocoder.postfilter.guided import PIECE, GuidedIterations
from flowvocoder.postfilter.latency import of_stream, within
from flowvocoder.postfilter.low_band import LowBand, LowBandStage
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.postfilter.stages import Stage, Stages

WIDE_BAND: Band = (1800.0, 2200.0)
"""What the last low-band iterations go over. The guide knows the lower half of it, so they come after."""

UNGUIDED_LAST = 6
"""Iterations towards the mel between the guided ones and those over the wider band."""


class PostFilter(nn.Module):
    """Mel-consistency iterations: by frame, over all bands, over low bands; of these, a guide guides some.

    Args:
        spec: of the mels.
        guide: guides some of the low-band iterations; None: all go towards the mel.

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
        self.wide_band = LowBand(spec, WIDE_BAND)
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
        arithmetic = MachineCode() if compiled else PYTORCH
        chain: list[Stage] = []
        if settings.rounds:
            chain.append(FrameByFrame(self.consistency, self.low_band, settings, lengths, compiled))
        chain += [Iteration(self.consistency, number, lengths, arithmetic) for number in range(settings.gl_iters)]
        if settings.low_band_iters:
            first, guided, last, wide = self.low_band_parts(settings.low_band_iters)
            low: list[Stage] = [self.low_band.iterations(first, lengths, arithmetic)]
            if self.guide is not None and guided:
                low.append(GuidedIterations(self.guide, lengths, precision, piece, arithmetic))
            low.append(self.low_band.iterations(last, lengths, arithmetic))
            chain.append(LowBandStage(self.low_band, Stages(low), lengths))
            if wide:
                inner = self.wide_band.iterations(wide, lengths, arithmetic)
                chain.append(LowBandStage(self.wide_band, inner, lengths))
        return Stages(chain)

    def low_band_parts(self, count: int) -> tuple[int, int, int, int]:
        """How many of so many low-band iterations come before the guided ones, are guided, follow, and are of the wider
        band.

        Too few for all kinds are of the first. So are guided ones where there is no guide.
        """
        wide = count - UNGUIDED_FIRST - GUIDED - UNGUIDED_LAST
        if wide < 0:
            return count, 0, 0, 0
        if self.guide is None:
            return UNGUIDED_FIRST + GUIDED, 0, UNGUIDED_LAST, wide
        return UNGUIDED_FIRST, GUIDED, UNGUIDED_LAST, wide

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
