"""The post-filter: everything that happens to audio after the flow."""

import torch
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic, MachineCode
from flowvocoder.postfilter.consistency import Band, Iteration, MelConsistency
from flowvocoder.postfilter.frame_by_frame import FrameByFrame
from flowvocoder.postfilter.geometry import in_whole_hops
from flowvocoder.postfilter.guide import GUIDED, UNGUIDED_FIRST, Guide
from flowvocoder.postfilter.guided import PIECE, GuidedIterations
from flowvocoder.postfilter.latency import of_stream, within
from flowvocoder.postfilter.low_band import LowBand, LowBandStage
from flowvocoder.postfilter.refinement import Refinement
from flowvocoder.postfilter.refiner import Refiner
from flowvocoder.postfilter.schedule import steady, towards_mel
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.postfilter.stages import Stage, Stages

WIDE_BAND: Band = (1800.0, 2200.0)
"""What low-band iterations go over. The guide knows the lower half of it, so guided ones come before."""

AFTER_REFINER = 2
"""Iterations over all bands after the refiner: of the usual mels, one for every frame."""

FEWEST_AFTER_GUIDE = 8
"""Iterations towards the mel that have to come after guided ones, which leave it."""


class PostFilter(nn.Module):
    """Mel-consistency iterations: by frame, over all bands, over low bands; of these, a guide guides some. A refiner
    comes before the last ones over all bands, which bring to the mel what it has changed.

    Args:
        spec: of the mels.
        guide: guides some of the low-band iterations; None: all go towards the mel.
        refiner: changes what the mel leaves open above 1 kHz; None: nothing does.

    Shape:
        audio: (B, F * hop_length), mel: (B, n_mels, F) -> as audio

    Example:
        >>> postfilter = PostFilter(spec := MelSpec())
        >>> audio, mel = torch.randn(1, 40 * spec.hop_length), torch.full((1, spec.n_mels, 40), -3.0)
        >>> postfilter(audio, mel, PostfilterSettings(gl_iters=4, low_band_iters=8)).shape
        torch.Size([1, 10240])
    """

    @plain_defaults()
    def __init__(self, spec: MelSpec, guide: Guide | None = None, refiner: Refiner | None = None):
        super().__init__()
        self.consistency = MelConsistency(spec)
        self.low_band = LowBand(spec) if guide is None else guide.band
        self.wide_band = LowBand(spec, WIDE_BAND)
        self.guide, self.refiner = guide, refiner

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
            precision: of the networks; None: that of the audio.
            compiled: by numba, where that is quicker.
            piece: mel frames that guided iterations take at a time.
        """
        chain: list[Stage] = [*self.unrefined(settings, lengths, precision, compiled, piece).stages]
        if (last := self.iterations_after_refiner(settings)) is not None and self.refiner is not None:
            chain.append(Refinement(self.refiner, lengths, precision, _arithmetic(compiled)))
            numbers = range(settings.gl_iters - last, settings.gl_iters)
            chain += [Iteration(self.consistency, number, lengths, _arithmetic(compiled)) for number in numbers]
        return Stages(chain)

    def unrefined(
        self,
        settings: PostfilterSettings,
        lengths: Tensor | None = None,
        precision: torch.dtype | None = None,
        compiled: bool = False,
        piece: int = PIECE,
    ) -> Stages:
        """What comes before the refiner, or all where it takes no part; as `stages`."""
        arithmetic = _arithmetic(compiled)
        chain: list[Stage] = []
        if settings.rounds:
            chain.append(FrameByFrame(self.consistency, self.low_band, settings, lengths, compiled))
        numbers = range(settings.gl_iters - (self.iterations_after_refiner(settings) or 0))
        chain += [Iteration(self.consistency, number, lengths, arithmetic) for number in numbers]
        if settings.low_band_iters:
            first, wide = self.low_band_parts(settings.low_band_iters)
            if self.guide is not None and first:
                low: list[Stage] = [
                    self.low_band.iterations(steady(first), lengths, arithmetic),
                    GuidedIterations(self.guide, lengths, precision, piece, arithmetic),
                ]
                chain.append(LowBandStage(self.low_band, Stages(low), lengths))
            inner = self.wide_band.iterations(towards_mel(wide), lengths, arithmetic)
            chain.append(LowBandStage(self.wide_band, inner, lengths))
        return Stages(chain)

    def iterations_after_refiner(self, settings: PostfilterSettings) -> int | None:
        """How many of the iterations over all bands the refiner comes before; None where it takes no part.

        It has learned from audio that is nearly right. So it needs an iteration before it, and is not in a stream's
        rounds.
        """
        if self.refiner is None or settings.rounds or not settings.gl_iters:
            return None
        return min(AFTER_REFINER, settings.gl_iters - 1)

    def low_band_parts(self, count: int) -> tuple[int, int]:
        """How many of so many low-band iterations come before the `GUIDED` ones, and after them over the wider band.

        Without a guide, and where there are too few for both, all are of the wider band, and none comes before.
        """
        wide = count - UNGUIDED_FIRST - GUIDED
        return (0, count) if self.guide is None or wide < FEWEST_AFTER_GUIDE else (UNGUIDED_FIRST, wide)

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


def _arithmetic(compiled: bool) -> Arithmetic:
    return MachineCode() if compiled else PYTORCH
