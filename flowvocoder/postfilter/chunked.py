"""`MelMatch` on audio that is still being made."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.consistency import MOMENTUM, LowBand, MelMatch
from flowvocoder.postfilter.guide import UNLED, FineSpectrum
from flowvocoder.units import ceil_div

PIECE, AROUND = 1024, 80
"""Frames: 12 s and 0.9 s at 22 050 Hz. What is further away makes 1e-9 of the power of what these passes change."""


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
        self.behind = match.size
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
        match = self._match
        self._mel = joined(self._mel, mel[:, : match.bands], 2)
        self._audio, self._added = joined(self._audio, audio), joined(self._added, audio)
        begin = self._frame * match.hop - match.left - self._start
        whole = (self._audio.shape[1] - begin - match.size) // match.stride + 1
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
        ready = self._frame * match.hop - match.left - self._start
        ready = self._added.shape[1] if ends else min(ready, self._added.shape[1])
        done, self._added = self._added[:, :ready], self._added[:, ready:]
        self._audio = self._audio[:, ready:]
        self._start += ready
        return done

    def _inside(self, count: int) -> Tensor | None:
        """Which of the next `count` frames are whole inside their item, (B, count)."""
        if self._length is None:
            return None
        match = self._match
        frames = self._frame + match.every * torch.arange(count, device=self._length.device)
        return frames * match.hop - match.left + match.size <= self._length[:, None] * match.hop


class LowPasses:
    """Passes over the low band, with momentum; the other bands only wait for it.

    Args:
        band: what tells the low band from the others.
        passes: how many.
        length: as in `MatchPass`.

    Attributes:
        behind: samples by which what comes out is late at most.
    """

    def __init__(self, band: LowBand, passes: int, length: Tensor | None = None):
        self._band, self._length = band, length
        self._passes = [MatchPass(band.match, number, length) for number in range(passes)]
        self.behind = 2 * band.reach + band.decimate * passes * band.match.size
        self._settled: list[Tensor | None] = [None] * passes  # what waits for each, to tell what it changed
        self._audio: Tensor | None = None  # what waits
        self._start = 0  # sample at which it begins
        self._taken: Tensor | None = None  # what the next low samples are made from
        self._low: Tensor | None = None  # low samples before all passes, which wait for those after
        self._changed: Tensor | None = None  # what the next samples' change is made from

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `MatchPass.push`."""
        low = self._lowered(audio, ends)
        moving = settled = low
        for number, one in enumerate(self._passes):
            waiting, settled = joined(self._settled[number], settled), one.push(mel, moving, ends)
            count = settled.shape[1]
            before, self._settled[number] = waiting[:, :count], waiting[:, count:]
            moving = settled + MOMENTUM * (settled - before)
        self._low = joined(self._low, low)
        change = settled - self._low[:, : settled.shape[1]]
        self._low = self._low[:, settled.shape[1] :]
        raised = self._raised(change, ends)
        self._audio = joined(self._audio, audio)
        count = self._audio.shape[1] if ends else raised.shape[1]
        done, self._audio = self._audio[:, :count], self._audio[:, count:]
        done = done + raised[:, :count]
        self._start += count
        if self._length is None:
            return done
        position = torch.arange(self._start - count, self._start, device=done.device)
        return done * (position < self._length[:, None] * self._band.match.spec.hop_length)

    def _lowered(self, audio: Tensor, ends: bool) -> Tensor:
        band = self._band
        if self._taken is None:
            self._taken = audio.new_zeros(len(audio), band.reach)
        self._taken = joined(self._taken, F.pad(audio, (0, band.reach)) if ends else audio)
        if self._taken.shape[1] <= 2 * band.reach:
            return audio[:, :0]
        low = band.lower(self._taken)
        self._taken = self._taken[:, low.shape[1] * band.decimate :]
        return low

    def _raised(self, change: Tensor, ends: bool) -> Tensor:
        band = self._band
        reach = band.reach // band.decimate
        if self._changed is None:
            self._changed = change.new_zeros(len(change), reach)
        self._changed = joined(self._changed, F.pad(change, (0, reach)) if ends else change)
        count = self._changed.shape[1] - 2 * reach
        if count <= 0:
            return change[:, :0]
        raised = band.raised(self._changed)
        self._changed = self._changed[:, count:]
        return raised


class FinePasses:
    """Further passes over the low band, which a `FineSpectrum` leads.

    Its network looks a second either way each time, so a signal is cut into pieces of `PIECE` frames that do not depend
    on how it comes in. Each is made with `AROUND` frames before and after it.

    Args:
        fine: what leads.
        passes: how many.
        length: as in `MatchPass`.
        precision: of the network; None: that of the audio.

    Attributes:
        behind: samples by which what comes out is late at most.
    """

    def __init__(
        self, fine: FineSpectrum, passes: int, length: Tensor | None = None, precision: torch.dtype | None = None
    ):
        self._fine, self._passes, self._length, self._precision = fine, passes, length, precision
        self._hop = fine.band.match.spec.hop_length
        self.behind = (PIECE + AROUND) * self._hop
        self._mel: Tensor | None = None  # from where the next piece's surroundings begin
        self._audio: Tensor | None = None
        self._start = 0  # frame at which they begin
        self._next = 0  # frame at which the next piece begins

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `MatchPass.push`."""
        self._mel, self._audio = joined(self._mel, mel, 2), joined(self._audio, audio)
        done = [audio[:, :0]]
        while True:
            there = self._start + min(self._mel.shape[2], self._audio.shape[1] // self._hop)
            last = ends and there <= self._next + PIECE + AROUND
            if not last and there < self._next + PIECE + AROUND:
                return torch.cat(done, 1)
            done.append(self._piece(there if last else self._next + PIECE, last))
            if last:
                return torch.cat(done, 1)

    def _piece(self, stop: int, last: bool) -> Tensor:
        """The next piece, up to frame `stop`."""
        assert self._mel is not None and self._audio is not None
        frames = stop - self._start if last else stop + AROUND - self._start
        mel, audio = self._mel[..., :frames], self._audio[:, : frames * self._hop]
        after = self._refined(mel, audio)
        begin, end = (self._next - self._start) * self._hop, (stop - self._start) * self._hop
        if last:
            rest = self._audio[:, frames * self._hop :]  # not a whole frame
            return torch.cat([after[:, begin:], rest], 1)
        self._next = stop
        spent = max(0, stop - AROUND - self._start)
        self._mel, self._audio = self._mel[..., spent:], self._audio[:, spent * self._hop :]
        self._start += spent
        return after[:, begin:end]

    def _refined(self, mel: Tensor, audio: Tensor) -> Tensor:
        """(B, n_mels, f) and (B, f * hop), each item as far as it goes."""
        if not mel.shape[2]:
            return audio
        if self._length is None:
            return self._one(mel, audio)
        after = audio.clone()
        for item, frames in enumerate((self._length - self._start).clamp(0, mel.shape[2]).tolist()):
            if frames:
                one = slice(item, item + 1)
                after[one, : frames * self._hop] = self._one(mel[one, :, :frames], audio[one, : frames * self._hop])
        return after

    def _one(self, mel: Tensor, audio: Tensor) -> Tensor:
        band = self._fine.band
        low = self._fine.low_of(audio)
        change = self._fine.refine(low, mel, self._passes, self._precision) - low
        reach = band.reach // band.decimate
        return audio + band.raised(F.pad(change, (reach, reach)))[:, : audio.shape[1]]


class Pass(Protocol):
    """What audio goes through as it comes."""

    behind: int

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `MatchPass.push`."""


class Matching:
    """Several passes, one behind the other; with none, audio comes out as it goes in.

    Args:
        passes: in their order.

    Attributes:
        behind: samples by which what comes out is late at most.
    """

    def __init__(self, passes: Sequence[Pass] = ()):
        self._passes = passes
        self.behind = sum(one.behind for one in passes)

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `MatchPass.push`."""
        for one in self._passes:
            audio = one.push(mel, audio, ends)
        return audio


class Matcher(nn.Module):
    """Begins the `Matching` of a signal; one serves for all.

    Args:
        fine: what leads the passes over the low bands after the first `UNLED`; None: nothing.
        precision: of its network; None: that of the audio.
    """

    def __init__(self, spec: MelSpec, fine: FineSpectrum | None = None, precision: torch.dtype | None = None):
        super().__init__()
        self.match, self.low = MelMatch(spec), LowBand(spec) if fine is None else fine.band
        self.fine, self.precision = fine, precision

    def begin(self, match: int, low_match: int, length: Tensor | None = None) -> Matching:
        """`match` passes over all bands, then `low_match` over the low ones; `length` as in `MatchPass`.

        Raises:
            ConfigError: negative numbers.
        """
        for name, passes in (("match", match), ("low_match", low_match)):
            if passes < 0:
                raise ConfigError(f"{name} must be 0 passes or more, not {passes}")
        chain: list[Pass] = [MatchPass(self.match, number, length) for number in range(match)]
        led = 0 if self.fine is None else max(0, low_match - UNLED)
        if low_match:
            chain.append(LowPasses(self.low, low_match - led, length))
        if self.fine is not None and led:
            chain.append(FinePasses(self.fine, led, length, self.precision))
        return Matching(chain)


def chosen_passes(about: Mapping[str, Any], match: int | None, low_match: int | None) -> tuple[int, int]:
    """How many passes over all bands and the low ones: those asked for, where None those that a checkpoint says of
    itself, and no low ones of its own where there are no others."""
    match = _own(about, "match") if match is None else match
    return match, (_own(about, "low_match") if match else 0) if low_match is None else low_match


def _own(about: Mapping[str, Any], name: str) -> int:
    value = about.get(name, 0)
    return value if type(value) is int and value >= 0 else 0


def joined(first: Tensor | None, second: Tensor, axis: int = 1) -> Tensor:
    """One after the other."""
    return second if first is None or first.shape[axis] == 0 else torch.cat([first, second], axis)
