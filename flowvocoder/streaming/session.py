"""One signal (or batch of signals) through a step, chunk by chunk."""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.units import ceil_div


@dataclasses.dataclass(frozen=True)
class Piece:
    """Frames that go through the layers at once.

    Attributes:
        mel: (B, f, n_mels), the frames as the post-filter takes them; padded: the same as the flow does, with zeros
            after the last, until all audio is out.
        noise: of the padded frames.
        start: frames before it.
        length: frames of each item in all, (B,); None while it is not known.
        samples: start and end of what is audio in what the step gives.
        ends: it is the last.
    """

    mel: Tensor
    padded: Tensor
    noise: Tensor
    start: int
    length: Tensor | None
    samples: slice
    ends: bool


class Session:
    """The state of one synthesis; `push` and `finish` give audio as soon as it is decided.

    Args:
        step: the model.
        noise: frames -> the noise (B, frames * rate, M) that goes with the next frames.
        postfilter: what the audio then goes through; None for nothing.
        for_flow: what the flow takes of mels (B, n_mels, f) where that is not what the post-filter does.
    """

    def __init__(
        self,
        step: FlowStep,
        noise: Callable[[int], Tensor],
        postfilter: Stages | None = None,
        for_flow: Callable[[Tensor], Tensor] | None = None,
    ):
        self.step = step
        self.frames = 0
        self.postfilter = postfilter or Stages()
        self._noise, self._for_flow = noise, for_flow
        self._state: list[Tensor] | None = None

    def push(self, mel: Tensor, length: Tensor | None = None) -> Tensor:
        """The next frames (B, f, n_mels) -> audio (B, T), `step.delay` blocks late and what the post-filter is behind.

        Args:
            length: frames of each item in all, (B,), once it is known. What is beyond comes out as zeros.
        """
        return self.run(self.next_piece(mel, length))

    def finish(self, mel: Tensor, length: Tensor | None = None) -> Tensor:
        """The last frames (B, f, n_mels), none if f is 0 -> all that is still to come, (B, T)."""
        return self.run(self.next_piece(mel, length, ends=True))

    def next_piece(self, mel: Tensor, length: Tensor | None = None, ends: bool = False) -> Piece:
        """The next frames with their noise and place."""
        start, step = self.frames, self.step
        padded = mel if self._for_flow is None else self._for_flow(mel.transpose(1, 2)).transpose(1, 2)
        self.frames += mel.shape[1]
        early = max(0, step.delay - start * step.rate)
        late = None
        if ends:
            padded = F.pad(padded, (0, 0, 0, ceil_div(step.delay, step.rate)))
            length = torch.full((len(mel),), self.frames, device=mel.device) if length is None else length
            late = (self.frames - start) * step.rate + min(step.delay, start * step.rate) + early
        samples = slice(early * step.block, None if late is None else late * step.block)
        # Copied, since all iterations read it frame by frame.
        noise = self._noise(padded.shape[1]).to(mel, non_blocking=True)
        return Piece(mel.contiguous(), padded, noise, start, length, samples, ends)

    def run(self, piece: Piece) -> Tensor:
        """The audio (B, T) of a piece; pieces come in order."""
        audio, self._state = self.step.advance(piece.padded, piece.noise, piece.start, piece.length, self._state)
        return self.postfilter.push(piece.mel.transpose(1, 2), audio[:, piece.samples], piece.ends)
