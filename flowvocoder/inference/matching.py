"""`MelMatch` on audio that is still being made."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowvocoder.mel.matching import MelMatch
from flowvocoder.units import ceil_div


class MatchPass:
    """One pass of `MelMatch`: push mels and audio as they come, get audio up to a window later.

    What comes out together is what `MelMatch.forward` gives of the whole, whatever the pieces.

    Args:
        match: what corrects frames.
        number: which pass this is, from 0.
        length: frames of each item in all, (B,), where they are not the same.

    Attributes:
        behind: samples by which what comes out is late at most.
    """

    def __init__(self, match: MelMatch, number: int, length: Tensor | None = None):
        self._match, self._length = match, length
        self.behind = match.spec.n_fft
        self._frame = match.first_frame(number)  # the next one to correct
        self._audio: Tensor | None = None  # from where it begins on, or from the start of the signal
        self._added: Tensor | None = None  # the same with corrections
        self._start = 0  # sample at which they begin
        self._mel: Tensor | None = None
        self._mel_start = 0  # frame at which it begins

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """The next mel frames (B, n_mels, f) and samples (B, T), neither in step with the other -> samples.

        Args:
            ends: these are the last.
        """
        match, spec = self._match, self._match.spec
        self._mel = mel if self._mel is None else torch.cat([self._mel, mel], 2)
        self._audio = audio if self._audio is None else torch.cat([self._audio, audio], 1)
        self._added = audio if self._added is None else torch.cat([self._added, audio], 1)
        begin = self._frame * spec.hop_length - match.left - self._start
        whole = (self._audio.shape[1] - begin - spec.n_fft) // match.stride + 1
        known = ceil_div(self._mel_start + self._mel.shape[2] - self._frame, match.every)
        count = min(whole, known)
        if count > 0:
            target = self._mel[:, :, self._frame - self._mel_start :: match.every][..., :count]
            change = match.correction(self._audio[:, begin:], target, self._inside(count))
            change = change[:, : self._added.shape[1] - begin]
            self._added = self._added.clone()
            self._added[:, begin : begin + change.shape[1]] += change
            self._frame += count * match.every
            spent = min(self._frame - self._mel_start, self._mel.shape[2])
            self._mel, self._mel_start = self._mel[:, :, spent:], self._mel_start + spent
        ready = self._frame * spec.hop_length - match.left - self._start
        ready = self._added.shape[1] if ends else min(ready, self._added.shape[1])
        done, self._added = self._added[:, :ready], self._added[:, ready:]
        self._audio = self._audio[:, ready:]
        self._start += ready
        return done

    def _inside(self, count: int) -> Tensor | None:
        """Which of the next `count` frames are whole inside their item, (B, count)."""
        if self._length is None:
            return None
        match, spec = self._match, self._match.spec
        frames = self._frame + match.every * torch.arange(count, device=self._length.device)
        return frames * spec.hop_length - match.left + spec.n_fft <= self._length[:, None] * spec.hop_length


class Matching:
    """Several passes, one behind the other; with none, audio comes out as it goes in.

    Args:
        passes: in their order.

    Attributes:
        behind: samples by which what comes out is late at most.
    """

    def __init__(self, passes: Sequence[MatchPass] = ()):
        self._passes = passes
        self.behind = sum(one.behind for one in passes)

    @classmethod
    def of(cls, match: MelMatch, passes: int, length: Tensor | None = None) -> "Matching":
        """So many passes of `match`; `length` as in `MatchPass`."""
        return cls([MatchPass(match, number, length) for number in range(passes)])

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `MatchPass.push`."""
        for one in self._passes:
            audio = one.push(mel, audio, ends)
        return audio
