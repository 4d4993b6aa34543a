"""Mel consistency frame by frame on one buffer, so that iterations cost computing and not delay."""

import torch
import torch.nn.functional as F
from torch import Tensor

from flowvocoder.audio.stft import frames
from flowvocoder.postfilter.consistency import MelConsistency, synthesis_window
from flowvocoder.postfilter.geometry import FADE, geometry, momentum
from flowvocoder.postfilter.low_band import LowBand
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.postfilter.stages import joined, split
from flowvocoder.units import ceil_div


class RealTimeIterations:
    """Mel-consistency iterations over the newest frames, again with every hop that comes, as a `Stage`.

    Real-time iterative spectrogram inversion with look-ahead (RTISI-LA; Zhu, Beauregard and Wyse 2007) with the
    consistency step of `MelConsistency` and the momentum of fast Griffin-Lim. When a hop of audio has come, the frames
    that reach into the last `look_ahead` + 1 hops are corrected several times; only these hops change. The oldest of
    them then goes out. So the delay is `look_ahead` hops, whatever the rounds.

    At the shortest delays, frames whose window ends after the newest sample are corrected, too (`PARTIAL`): their mel
    is there before their samples. In the place of these stands what the step before made of them.

    Args:
        consistency: what corrects frames.
        band: the low band, which has rounds of its own at its lower rate.
        settings: `rounds` over all bands and `low_rounds` over the low one for every hop, `look_ahead` hops of delay.
        lengths: frames of each item in all, (B,), where they differ.
    """

    def __init__(
        self,
        consistency: MelConsistency,
        band: LowBand,
        settings: PostfilterSettings,
        lengths: Tensor | None = None,
    ):
        self._consistency, self._band, self._lengths = consistency, band, lengths
        self._late, self._rounds, self._low_rounds = settings.look_ahead, settings.rounds, settings.low_rounds
        self._momentum = momentum(self._late)
        self._geometry = geometry(consistency, self._late)
        self.behind = self._late * consistency.hop
        self._hop = 0  # the next one to come
        self._buffer: Tensor | None = None  # the samples that a step reads: known ones, then those beyond
        self._waiting: Tensor | None = None  # samples that are no whole hop, or whose mel is not there
        self._mel: Tensor | None = None
        self._mel_start = 0  # frame at which it begins
        self._windows: tuple[Tensor, Tensor] | None = None  # synthesis windows of the frames of a step

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        hop, now = self._consistency.hop, self._geometry
        self._mel = joined(self._mel, mel[:, : self._consistency.bands], 2)
        waiting = joined(self._waiting, audio)
        buffer = audio.new_zeros(len(audio), now.known + now.beyond) if self._buffer is None else self._buffer
        stated = self._mel_start + self._mel.shape[2]
        done = []
        while waiting.shape[1] >= hop and (ends or self._hop + now.last < stated):
            newest, waiting = split(waiting, hop)
            buffer = self._step(self._shifted(buffer, newest), self._mel)
            if self._hop > self._late:
                done.append(buffer[:, now.known - now.open :][:, :hop])
        if ends:
            done += [buffer[:, now.known - min(self._late, self._hop) * hop : now.known], waiting]
        self._buffer, self._waiting = buffer, waiting
        spent = min(max(0, self._hop + now.first - self._mel_start), self._mel.shape[2])
        self._mel, self._mel_start = self._mel[:, :, spent:], self._mel_start + spent
        return torch.cat([audio[:, :0], *done], 1)

    def _shifted(self, buffer: Tensor, newest: Tensor) -> Tensor:
        """The buffer a hop later."""
        hop, known, beyond = self._consistency.hop, self._geometry.known, self._geometry.beyond
        short = hop // FADE
        if beyond < short:
            return torch.cat([buffer[:, hop:known], newest, buffer.new_zeros(len(buffer), beyond)], 1)
        down = 1.0 - (torch.arange(short, device=buffer.device, dtype=buffer.dtype) + 0.5) / short
        fade = down if self._lengths is None else down * (self._hop < self._lengths[:, None])
        begun = torch.lerp(newest[:, :short], buffer[:, known : known + short], fade)
        later = F.pad(buffer[:, known + hop :], (0, min(hop, beyond)))
        later = later + F.pad((newest[:, -1:] - later[:, :1]) * down, (0, beyond - short))
        return torch.cat([buffer[:, hop:known], begun, newest[:, short:], later], 1)

    def _step(self, buffer: Tensor, mel: Tensor) -> Tensor:
        """The buffer that ends with the newest hop after the rounds."""
        step, now, hop = self._consistency, self._geometry, self._hop
        self._hop += 1
        first = max(hop + now.first, ceil_div(step.left, step.hop))  # whole after the start of the signal
        last = min(hop + now.last, self._mel_start + mel.shape[2] - 1)
        if last < first:
            return buffer
        stated = mel[:, :, first - self._mel_start : last + 1 - self._mel_start]
        rows = slice(first - hop - now.first, last + 1 - hop - now.first)
        inside = None
        if self._lengths is not None:
            numbers = torch.arange(first, last + 1, device=buffer.device)
            inside = (numbers.clamp_min(hop) < self._lengths[:, None]).to(buffer.dtype)
        fixed, changing = split(buffer, rows.start * step.hop)
        return torch.cat([fixed, self._iterated(changing, stated, rows, inside)], 1)

    def _iterated(self, x: Tensor, stated: Tensor, rows: slice, inside: Tensor | None) -> Tensor:
        """Samples from the first frame's first on, (B, T), after the rounds of these frames."""
        if self._windows is None:
            self._windows = self._made_windows(self._consistency, x), self._made_windows(self._band.consistency, x)
        full, low = (table[rows] for table in self._windows)
        band = self._band
        x = self._corrected(self._consistency, x, self._consistency.wanted(stated), self._rounds, full, inside)
        if not self._low_rounds:
            return x
        before = band.of(x)
        target = band.consistency.wanted(stated)
        change = self._corrected(band.consistency, before, target, self._low_rounds, low, inside) - before
        at = torch.arange(x.shape[1], device=x.device) + rows.start * self._consistency.hop
        # The filter reaches into what is fixed.
        return x + F.pad(band.to_full_rate(change), (0, x.shape[1] % band.decimate)) * self._opening(at).to(x.dtype)

    def _corrected(
        self,
        step: MelConsistency,
        x: Tensor,
        target: Tensor,
        rounds: int,
        synthesis: Tensor,
        inside: Tensor | None,
    ) -> Tensor:
        """A signal (B, T) after rounds of frames from its first sample on."""
        before = x
        for number in range(rounds):
            windows = frames(x, step.size, step.hop, target.shape[1])
            after = x + staggered_sum(step.change(windows, target, inside) * synthesis, step.hop, x.shape[1])
            # after + momentum * (after - before), but for the last.
            x = torch.lerp(before, after, 1.0 + self._momentum) if number + 1 < rounds else after
            before = after
        return x

    def _made_windows(self, step: MelConsistency, like: Tensor) -> Tensor:
        """Synthesis windows of all frames of a step, zero where samples do not change, (J, size)."""
        count = self._geometry.last - self._geometry.first + 1
        starts = step.hop * torch.arange(count, device=like.device)[:, None]
        at = step.decimate * (starts + torch.arange(step.size, device=like.device))
        return (synthesis_window(step.window, step.hop) * self._opening(at)).to(like.dtype)

    def _opening(self, at: Tensor) -> Tensor:
        """How far samples of a step may change, 0 to 1."""
        now = self._geometry
        return ((at - (now.known - now.open) + 0.5) * FADE / self._consistency.hop).clamp(0.0, 1.0)


def staggered_sum(rows: Tensor, hop: int, length: int) -> Tensor:
    """The sum of rows that start `hop` samples apart: (B, J, size) -> (B, length), which all of them fit into.

    As `overlap_add`, but quick for few rows: each is padded so far that the next one begins `hop` columns later.
    """
    items, count, size = rows.shape
    padded = F.pad(rows, (0, length + hop - size)).flatten(1)
    return padded[:, : count * length].view(items, count, length).sum(1)
