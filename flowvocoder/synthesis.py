"""One synthesis of a whole mel, once its arguments were looked at."""

import dataclasses
from collections.abc import Callable, Iterator

from torch import Tensor

from flowvocoder.checks import checked_synthesis
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.conversion import MovedAudio
from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.streaming.pieces import pieces
from flowvocoder.threads import own_threads

NoiseOf = Callable[[int], Tensor]
"""Frames -> their noise (B, frames * rate, M)."""


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """A mel (B, n_mels, F) as the post-filter takes it, and all that goes with it.

    Attributes:
        noise: its noise.
        lengths: frames of each item of `mel`, (B,); None where all are as long.
        stages: the post-filter.
        frames: how many were given, which may be one less.
        moved: cuts the audio to them.
        for_flow: what the flow takes of mel frames.
    """

    mel: Tensor
    noise: NoiseOf
    lengths: Tensor | None
    stages: Stages
    frames: int
    moved: MovedAudio
    for_flow: Callable[[Tensor], Tensor]

    def pieces(self, step: FlowStep) -> Iterator[Tensor]:
        """Audio (B, T) after (B, T), in memory that does not grow with the length."""
        for audio in pieces(step, self.mel, self.noise, self.lengths, self.stages, self.for_flow):
            yield self._given_out(audio)

    def whole(self, model: FlowVocoder) -> Tensor:
        """Audio (B, T) by the model's own layers, at once."""
        with own_threads():
            noise = self.noise(self.mel.shape[2]).to(self.mel).transpose(1, 2)
            audio = model.sample_items(noise, self.for_flow(self.mel), self.lengths)
            return self._given_out(self.stages.push(self.mel, audio, ends=True))

    def _given_out(self, audio: Tensor) -> Tensor:
        return checked_synthesis(self.moved.take(audio, self.frames))
