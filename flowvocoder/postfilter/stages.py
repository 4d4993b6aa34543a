"""Stages of the post-filter: each takes mel frames and audio as they come and gives audio some time later."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Stage(Protocol):
    """Something that audio goes through. The output is the same however the input is cut into pieces.

    Attributes:
        behind: largest delay of the output, in samples.
    """

    behind: int

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """The next mel frames and samples, which need not be in step with each other.

        Args:
            ends: these are the last; everything that is still waiting comes out.

        Shape:
            mel: (B, n_mels, f), audio: (B, T) -> (B, T')
        """


class Stages:
    """Several stages in a row. With none, audio comes out as it goes in."""

    def __init__(self, stages: Sequence[Stage] = ()):
        self.stages = stages
        self.behind = sum(stage.behind for stage in stages)

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        for stage in self.stages:
            audio = stage.push(mel, audio, ends)
        return audio


class FastIterations:
    """Iterations that each start from the last one's result, extrapolated.

    Args:
        iterations: stages that each do one.
        momenta: share of the change of each by which its result is extrapolated.
    """

    def __init__(self, iterations: Sequence[Stage], momenta: Sequence[float]):
        self._iterations, self._momenta = iterations, momenta
        self._before: list[Tensor | None] = [None] * len(iterations)  # results that wait for the next iteration's
        self.behind = sum(stage.behind for stage in iterations)

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        extrapolated = audio
        for index, (iteration, momentum) in enumerate(zip(self._iterations, self._momenta, strict=True)):
            waiting = joined(self._before[index], audio)
            audio = iteration.push(mel, extrapolated, ends)
            before, self._before[index] = split(waiting, audio.shape[1])
            if index + 1 < len(self._iterations):
                extrapolated = torch.lerp(before, audio, 1.0 + momentum)
        return audio


def joined(first: Tensor | None, second: Tensor, axis: int = 1) -> Tensor:
    """One after the other."""
    return second if first is None or first.shape[axis] == 0 else torch.cat([first, second], axis)


def split(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` samples, and the rest: (B, T) -> (B, count), (B, T - count)."""
    return x[:, :count], x[:, count:]
