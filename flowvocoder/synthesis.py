"""One synthesis of a whole mel, once its arguments were looked at."""

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowvocoder.checks import checked_synthesis
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.conversion import MelConversion, MovedAudio
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.streaming.pieces import CHUNK_ON_GPU, pieces
from flowvocoder.streaming.recorded import Recordings, on_grid, padded, whole
from flowvocoder.threads import own_threads

NoiseOf = Callable[[int], Tensor]
"""Frames -> their noise (B, frames * rate, M)."""


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """A mel (B, n_mels, F) as the post-filter takes it, and all that goes with it.

    Attributes:
        noise: its noise.
        lengths: frames of each item of `mel`, (B,); None where all are as long.
        frames: how many were given, which may be one less.
        moved: cuts the audio to them.
        conversion: what made `mel`, and makes of it what the flow takes.
        postfilter, settings: what the audio goes through.
        precision: of its networks; None: that of the audio.
        compiled: run it as machine code where that is quicker.
    """

    mel: Tensor
    noise: NoiseOf
    lengths: Tensor | None
    frames: int
    moved: MovedAudio
    conversion: MelConversion
    postfilter: PostFilter
    settings: PostfilterSettings
    precision: torch.dtype | None = None
    compiled: bool = False

    def pieces(self, step: FlowStep, recordings: Recordings | None = None) -> Iterator[Tensor]:
        """Audio (B, T) after (B, T), in memory that does not grow with the length.

        Args:
            recordings: of `step`; what is short enough then comes at once, replayed where its size has come before.
        """
        if recordings is not None and (audio := self._at_once(step, recordings)) is not None:
            yield self._given_out(audio)
            return
        stages = self._stages(self.lengths)
        for audio in pieces(step, self.mel, self.noise, self.lengths, stages, self.conversion.for_flow):
            yield self._given_out(audio)

    def whole(self, model: FlowVocoder) -> Tensor:
        """Audio (B, T) by the model's own layers, at once."""
        with own_threads():
            noise = self.noise(self.mel.shape[2]).to(self.mel).transpose(1, 2)
            audio = model.sample_items(noise, self.conversion.for_flow(self.mel), self.lengths)
            return self._given_out(self._stages(self.lengths).push(self.mel, audio, ends=True))

    def _at_once(self, step: FlowStep, recordings: Recordings) -> Tensor | None:
        """Audio (B, T) in a size on the grid, by a recording of it where it came before; None where it is in pieces."""
        mel = self.mel
        items, frames = on_grid(len(mel)), on_grid(mel.shape[2])
        # Rounds launch so much for every hop that a recording would take minutes. A conversion that is not exact makes
        # a post-filter for each synthesis: it never comes back.
        if self.settings.rounds or not self.conversion.exact or items * frames > CHUNK_ON_GPU:
            return None
        tensors = *self.postfilter.parameters(), *self.postfilter.buffers()
        # A recording reads weights where they were.
        key = items, frames, mel.dtype, self.settings, self.postfilter, *(tensor.data_ptr() for tensor in tensors)

        def example() -> list[Tensor]:
            noise = mel.new_zeros(1, step.rate, step.block)
            return padded(mel.new_zeros(1, mel.shape[1], 1), noise, None, items, frames)

        if (run := recordings.find(key, whole(step, self._stages), example)) is None:
            return None
        noise = self.noise(mel.shape[2]).to(mel, non_blocking=True)
        samples = mel.shape[2] * step.rate * step.block
        return run(padded(mel, noise, self.lengths, items, frames))[0][: len(mel), :samples]

    def _stages(self, lengths: Tensor | None) -> Stages:
        return self.postfilter.stages(self.settings, lengths, self.precision, self.compiled)

    def _given_out(self, audio: Tensor) -> Tensor:
        return checked_synthesis(self.moved.take(audio, self.frames))
