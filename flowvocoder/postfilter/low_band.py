"""A band from 0 Hz on at a lower rate, where an iteration takes a tenth or a fifth of the time."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic
from flowvocoder.postfilter.consistency import LOW_BAND, Band, Inside, Iteration, MelConsistency
from flowvocoder.postfilter.schedule import Move
from flowvocoder.postfilter.stages import FastIterations, Stage, joined, split
from flowvocoder.units import ceil_div

ROW = 16
"""Low-rate samples computed by one matrix product, which is faster than a convolution of one channel."""


class LowBand(nn.Module):
    """A low band of audio: down to a lower rate, mel-consistency iterations there, and back up.

    Mel bands below 1 kHz are as narrow as harmonics, so there a mel says most about the waveform and many iterations
    pay. Up to 2 kHz they pay still. The filter is a Kaiser window of 60 dB, so that nothing aliases onto the band.

    Args:
        spec: of the mel.
        band: what is corrected.

    Attributes:
        consistency: of the band, at the low rate.
        decimate: full-rate samples per low-rate sample.
        reach: full-rate samples on either side that a low-rate one is made from.
    """

    down: Tensor
    up: Tensor

    def __init__(self, spec: MelSpec, band: Band = LOW_BAND):
        super().__init__()
        self.consistency = MelConsistency(spec, band)
        self.decimate = self.consistency.decimate
        transition = 2 * math.pi * (spec.sample_rate / self.decimate - 2 * band[1]) / spec.sample_rate
        wide = math.ceil((60.0 - 7.95) / (2.285 * transition) / 2 / self.decimate)
        self.reach = wide * self.decimate
        time = torch.arange(-self.reach, self.reach + 1, dtype=torch.float64)
        cutoff = 1.0 / (2 * self.decimate)
        kaiser = torch.kaiser_window(len(time), periodic=False, beta=5.65, dtype=torch.float64)
        kernel = 2 * cutoff * torch.sinc(2 * cutoff * time) * kaiser
        kernel = kernel / kernel.sum()
        # The weight of every full-rate sample in every low-rate one of a row, and the other way round.
        full = torch.arange((ROW - 1) * self.decimate + len(kernel))[:, None]
        down = _at(kernel, full - self.decimate * torch.arange(ROW))
        low = torch.arange(ROW + 2 * wide)[:, None] - wide
        up = self.decimate * _at(kernel, torch.arange(ROW * self.decimate) - self.decimate * low + self.reach)
        self.register_buffer("down", down.float(), persistent=False)
        self.register_buffer("up", up.float(), persistent=False)

    def downsample(self, audio: Tensor) -> Tensor:
        """(B, reach + n * decimate + reach + 1 or more) -> (B, n + 1), of which the first is at sample `reach`."""
        count = (audio.shape[1] - 2 * self.reach - 1) // self.decimate + 1
        return _rows(audio, self.down, ROW * self.decimate, ceil_div(count, ROW))[:, :count]

    def upsample(self, low: Tensor) -> Tensor:
        """(B, 2 * reach / decimate + n) -> (B, n * decimate), from that at `reach / decimate` on."""
        count = low.shape[1] - 2 * (self.reach // self.decimate)
        return _rows(low, self.up, ROW, ceil_div(count, ROW))[:, : count * self.decimate]

    def of(self, audio: Tensor) -> Tensor:
        """The low band of a whole signal, at the low rate: (B, T) -> (B, T / decimate)."""
        return self.downsample(F.pad(audio, (self.reach, self.reach)))[:, : audio.shape[1] // self.decimate]

    def to_full_rate(self, low: Tensor) -> Tensor:
        """A whole signal at the full rate: (B, n) -> (B, n * decimate)."""
        reach = self.reach // self.decimate
        return self.upsample(F.pad(low, (reach, reach)))

    def iterations(
        self, moves: Sequence[Move], lengths: Tensor | None = None, arithmetic: Arithmetic = PYTORCH
    ) -> FastIterations:
        """Mel-consistency iterations at the low rate."""
        step, inside = self.consistency, Inside(self.consistency, lengths)
        iterations = [Iteration(step, n, lengths, arithmetic, move.length, inside) for n, move in enumerate(moves)]
        return FastIterations(iterations, [move.momentum for move in moves])

    def iterate(self, low: Tensor, mel: Tensor, moves: Sequence[Move]) -> Tensor:
        """A whole signal at the low rate after some iterations: (B, F * hop) and (B, n_mels, F) -> (B, F * hop)."""
        return self.iterations(moves).push(mel, low, ends=True)


class LowBandStage:
    """Runs a stage at the low rate; the bands above only wait for it.

    Args:
        band: the filters.
        inner: the stage.
        lengths: frames of each item in all, (B,), where they differ.
    """

    def __init__(self, band: LowBand, inner: Stage, lengths: Tensor | None = None):
        self._band, self._inner, self._lengths = band, inner, lengths
        self.behind = 2 * band.reach + band.decimate * inner.behind
        self._audio: Tensor | None = None  # samples that wait for the change of their low band
        self._start = 0  # sample at which they begin
        self._taken: Tensor | None = None  # samples that the next low-rate ones are made from
        self._low: Tensor | None = None  # low-rate samples that wait for what the stage makes of them
        self._change: Tensor | None = None  # low-rate change that the next samples are made from

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        low = self._downsampled(audio, ends)
        after = self._inner.push(mel, low, ends)
        before, self._low = split(joined(self._low, low), after.shape[1])
        change = self._upsampled(after - before, ends)
        self._audio = joined(self._audio, audio)
        count = self._audio.shape[1] if ends else change.shape[1]
        done, self._audio = split(self._audio, count)
        done = done + change[:, :count]
        self._start += count
        if self._lengths is None:
            return done
        position = torch.arange(self._start - count, self._start, device=done.device)
        return done * (position < self._lengths[:, None] * self._band.consistency.spec.hop_length)

    def _downsampled(self, audio: Tensor, ends: bool) -> Tensor:
        band = self._band
        if self._taken is None:
            self._taken = audio.new_zeros(len(audio), band.reach)
        self._taken = joined(self._taken, F.pad(audio, (0, band.reach)) if ends else audio)
        if self._taken.shape[1] <= 2 * band.reach:
            return audio[:, :0]
        low = band.downsample(self._taken)
        self._taken = self._taken[:, low.shape[1] * band.decimate :]
        return low

    def _upsampled(self, change: Tensor, ends: bool) -> Tensor:
        band = self._band
        reach = band.reach // band.decimate
        if self._change is None:
            self._change = change.new_zeros(len(change), reach)
        self._change = joined(self._change, F.pad(change, (0, reach)) if ends else change)
        count = self._change.shape[1] - 2 * reach
        if count <= 0:
            return change[:, :0]
        upsampled = band.upsample(self._change)
        self._change = self._change[:, count:]
        return upsampled


def _at(kernel: Tensor, index: Tensor) -> Tensor:
    """kernel[index], 0 outside of it."""
    inside = (index >= 0) & (index < len(kernel))
    return torch.where(inside, kernel[index.clamp(0, len(kernel) - 1)], 0.0)


def _rows(x: Tensor, matrix: Tensor, step: int, rows: int) -> Tensor:
    """The first stretches of (B, T), `step` apart and as long as the matrix, each times it, in a row."""
    missing = (rows - 1) * step + len(matrix) - x.shape[1]
    stretches = F.pad(x, (0, max(0, missing))).unfold(1, len(matrix), step)[:, :rows]
    return (stretches @ matrix.to(x.dtype)).flatten(1)
