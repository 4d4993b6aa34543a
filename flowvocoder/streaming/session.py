"""One signal (or batch of signals) through a step, chunk by chunk."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.postfilter.stages import Stages
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.units import ceil_div

CHUNK = 1024
"""Frames of all items together that go through the layers at once where the whole mel is there: 12 s at 22 050 Hz. It
bounds the memory that synthesis needs, whatever the length; larger chunks are not faster."""


class Session:
    """The state of one synthesis; `push` and `finish` give audio as soon as it is decided.

    Args:
        step: the model.
        noise: frames -> the noise (B, frames * rate, M) that goes with the next frames.
        postfilter: what the audio then goes through; None for nothing.
    """

    def __init__(self, step: FlowStep, noise: Callable[[int], Tensor], postfilter: Stages | None = None):
        self.step = step
        self.frames = 0
        self._noise = noise
        self._postfilter = postfilter or Stages()
        self._state: list[Tensor] | None = None

    def push(self, mel: Tensor, length: Tensor | None = None) -> Tensor:
        """The next frames (B, f, n_mels) -> audio (B, T), `step.delay` blocks late and what the post-filter is behind.

        Args:
            length: frames of each item in all, (B,), once it is known. What is beyond comes out as zeros.
        """
        return self._postfilter.push(mel.transpose(1, 2), self._flow(mel, length))

    def _flow(self, mel: Tensor, length: Tensor | None) -> Tensor:
        noise = self._noise(mel.shape[1]).to(mel)
        audio, self._state = self.step.advance(mel, noise, self.frames, length, self._state)
        early = max(0, self.step.delay - self.frames * self.step.rate) * self.step.block
        self.frames += mel.shape[1]
        return audio[:, early:]

    def finish(self, mel: Tensor, length: Tensor | None = None) -> Tensor:
        """The last frames (B, f, n_mels), none if f is 0 -> all that is still to come, (B, T)."""
        blocks = self.frames * self.step.rate
        frames = self.frames + mel.shape[1]
        length = torch.full((len(mel),), frames, device=mel.device) if length is None else length
        rest = ceil_div(self.step.delay, self.step.rate)
        audio = self._flow(F.pad(mel, (0, 0, 0, rest)), length)
        audio = audio[:, : (frames * self.step.rate - max(0, blocks - self.step.delay)) * self.step.block]
        return self._postfilter.push(mel.transpose(1, 2), audio, ends=True)


def pieces(
    step: FlowStep,
    mel: Tensor,
    noise: Callable[[int], Tensor],
    length: Tensor | None = None,
    postfilter: Stages | None = None,
) -> Iterator[Tensor]:
    """Audio of a whole mel, piece after piece, in memory that does not grow with its length.

    Shape:
        mel: (B, n_mels, F); length: (B,) frames of each item -> (B, T), F * hop_length samples together
    """
    session = Session(step, noise, postfilter)
    size = max(1, CHUNK // len(mel))
    for first in range(0, mel.shape[2], size):
        frames = mel[:, :, first : first + size].transpose(1, 2)
        last = first + size >= mel.shape[2]
        yield session.finish(frames, length) if last else session.push(frames, length)


def from_tensor(noise: Tensor, rate: int) -> Callable[[int], Tensor]:
    """Noise (B, M, N) that is there already as a source of it, frame after frame; zeros after its end."""
    position = 0

    def take(frames: int) -> Tensor:
        nonlocal position
        now = noise[..., position : position + frames * rate]
        position += frames * rate
        return F.pad(now, (0, frames * rate - now.shape[-1])).transpose(1, 2)

    return take
