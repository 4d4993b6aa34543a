"""Guided iterations over audio of any length, in pieces."""

import torch
from torch import Tensor

from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic
from flowvocoder.postfilter.guide import Guide
from flowvocoder.postfilter.stages import joined, split

PIECE, CONTEXT = 1024, 80
"""Mel frames: 12 s and 0.9 s at 22 050 Hz. What is further away has 1e-9 of the power of a change."""


class GuidedIterations:
    """The guided round of low-band iterations as a `Stage` at the low rate.

    The guide sees a second to either side, so a signal is cut into pieces of `piece` frames at places
    that do not depend on how it arrives. Each is processed with `CONTEXT` frames before and after it.

    Args:
        guide: the network.
        lengths: frames of each item in all, (B,), where they differ.
        precision: of the network; None: that of the audio.
        piece: mel frames.
        arithmetic: what computes the iterations.
    """

    def __init__(
        self,
        guide: Guide,
        lengths: Tensor | None = None,
        precision: torch.dtype | None = None,
        piece: int = PIECE,
        arithmetic: Arithmetic = PYTORCH,
    ):
        self._guide, self._lengths, self._precision, self._arithmetic = guide, lengths, precision, arithmetic
        self._hop, self._frames = guide.band.consistency.hop, piece
        self.behind = (piece + CONTEXT) * self._hop
        self._mel: Tensor | None = None  # from where the next piece's context begins
        self._low: Tensor | None = None
        self._start = 0  # frame at which they begin
        self._next = 0  # frame at which the next piece begins

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        self._mel, self._low = joined(self._mel, mel, 2), joined(self._low, audio)
        done = [audio[:, :0]]
        while True:
            arrived = self._start + min(self._mel.shape[2], self._low.shape[1] // self._hop)
            needed = self._next + self._frames + CONTEXT
            if ends and arrived <= needed:
                return torch.cat([*done, self._last(self._mel, self._low, arrived)], 1)
            if arrived < needed:
                return torch.cat(done, 1)
            done.append(self._piece(self._mel, self._low))

    def _piece(self, mel: Tensor, low: Tensor) -> Tensor:
        """The next whole piece."""
        stop, hop = self._next + self._frames, self._hop
        known = stop + CONTEXT - self._start
        after = self._iterated(mel[..., :known], low[:, : known * hop])
        piece = after[:, (self._next - self._start) * hop : (stop - self._start) * hop]
        spent = max(0, stop - CONTEXT - self._start)
        self._mel, self._low = mel[..., spent:], low[:, spent * hop :]
        self._start, self._next = self._start + spent, stop
        return piece

    def _last(self, mel: Tensor, low: Tensor, stop: int) -> Tensor:
        """All that is left, up to frame `stop` and the incomplete frame after it."""
        whole, rest = split(low, (stop - self._start) * self._hop)
        after = self._iterated(mel[..., : stop - self._start], whole)
        return torch.cat([after[:, (self._next - self._start) * self._hop :], rest], 1)

    def _iterated(self, mel: Tensor, low: Tensor) -> Tensor:
        """(B, n_mels, f) and (B, f * hop) -> (B, f * hop), each item up to its own length."""
        if not mel.shape[2]:
            return low
        if self._lengths is None:
            return self._guide.guided_round(low, mel, self._precision, self._arithmetic)
        lengths = (self._lengths - self._start).clamp(0, mel.shape[2])
        inside = torch.arange(low.shape[1], device=low.device) < lengths[:, None] * self._hop
        after = self._guide.guided_round(low * inside, mel, self._precision, self._arithmetic, lengths)
        return torch.where(inside, after, low)
