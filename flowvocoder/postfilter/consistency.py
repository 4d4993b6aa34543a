"""Mel consistency: Griffin-Lim iterations that correct mel bands and keep phases."""

import functools
import math
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.stft import frames, magnitude
from flowvocoder.mel.frontend import MelFrontEnd, band_centres
from flowvocoder.mel.spec import MelSpec, edge_padding
from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic
from flowvocoder.postfilter.beyond import beyond
from flowvocoder.postfilter.filters import Filters, filters
from flowvocoder.postfilter.stages import joined, split
from flowvocoder.units import ceil_div

MAX_GAIN = 2.0
"""Largest correction in one iteration, in nats (17 dB)."""

Band: TypeAlias = tuple[float, float]
"""Hz: corrected in full below the first, and not at all above the second."""

LOW_BAND: Band = (900.0, 1100.0)
"""Where mel bands are as narrow as harmonics."""


class MelConsistency(nn.Module):
    """Scales every mel band in every frame to the level that a mel states; phases stay.

    Below the mel's range nothing is stated. There the level is only turned down, to what is likely given the mel
    (`postfilter.beyond`). Above it the flow's own level stays.

    A flow draws a waveform whose mel equals the given one only on average. One iteration gives the audio's STFT the
    stated magnitudes and resynthesises by weighted overlap-add, as Griffin and Lim (1984) do. A mel states one level
    per band, so the gain is interpolated between the centres of bands.

    An iteration corrects every `every`-th frame, which overlap by half; the next one corrects those between. Two
    iterations cost what one over all frames does and come nearer. Frames that reach over an end stay as they are.

    Args:
        spec: of the mel.
        band: only what lies in it, on audio at 1 / `decimate` of the rate; None: all bands.

    Attributes:
        decimate: full-rate samples per sample of the audio; 1 without a band.
        every: frames from one to the next in an iteration.
        bands: mel bands that are corrected.
        hop, size, stride: samples between frames, in a window, and between the frames of an iteration.
        left: samples of its window before a frame's own first sample.

    Example:
        >>> spec = MelSpec()
        >>> audio, mel = torch.randn(1, 40 * spec.hop_length), torch.full((1, spec.n_mels, 40), -3.0)
        >>> MelConsistency(spec)(audio, mel, iterations=4).shape
        torch.Size([1, 10240])
    """

    window: Tensor
    synthesis: Tensor
    filterbank: Tensor
    to_bins: Tensor
    most: Tensor
    outside_weights: Tensor
    outside_bias: Tensor

    def __init__(self, spec: MelSpec, band: Band | None = None):
        super().__init__()
        self.spec = spec
        self.decimate = decimate = decimation(spec, band) if band else 1
        front_end = MelFrontEnd(spec)
        self.every = 1 if band else max(1, spec.win_length // (2 * spec.hop_length))
        self.hop, self.size = spec.hop_length // decimate, spec.n_fft // decimate
        self.left = edge_padding(spec)[0] // decimate
        self.stride = self.every * self.hop
        before = (spec.n_fft - spec.win_length) // 2
        window = torch.zeros(spec.n_fft)
        window[before : before + spec.win_length] = front_end.window
        window = window[::decimate]
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("synthesis", synthesis_window(window, self.stride), persistent=False)
        weight = weights(spec, band) if band else torch.ones(spec.n_mels)
        self.bands = int(weight.count_nonzero())
        outside = beyond(spec, self.size // 2 + 1)
        # Nothing above the last corrected band is measured or changed.
        stated = front_end.filterbank[: self.bands, : outside.bins.shape[1]]
        both = torch.cat([stated, unit_level(outside.bins, front_end.window)])
        used = (both > 0).any(0).nonzero().flatten().tolist()
        bins = max(used, default=0) + 1
        # Spectra of decimated audio are smaller by this factor. Transposed in memory, as it is used.
        filterbank = (decimate * both[:, :bins]).T.contiguous()
        self.register_buffer("filterbank", filterbank, persistent=False)
        # Triangles of height 1 interpolate between their tips.
        triangles = front_end.filterbank / front_end.filterbank.amax(1, keepdim=True).clamp_min(1e-12)
        to_bins = weight[:, None] * triangles / triangles.sum(0).clamp_min(1e-3)
        to_bins = torch.cat([to_bins[: self.bands, : outside.bins.shape[1]], outside.bins])
        self.register_buffer("to_bins", to_bins[:, :bins], persistent=False)
        most = torch.cat([MAX_GAIN * torch.ones(self.bands), torch.zeros(len(outside.bins))])
        self.register_buffer("most", most, persistent=False)
        self.register_buffer("outside_weights", outside.weights[: self.bands], persistent=False)
        self.register_buffer("outside_bias", outside.bias, persistent=False)
        self.nats = math.log(10.0) if spec.log == "log10" else 1.0  # a unit of the mel

    def forward(self, audio: Tensor, mel: Tensor, iterations: int) -> Tensor:
        """A whole signal after some iterations; differentiable.

        Shape:
            audio: (B, F * hop), mel: (B, n_mels, F) -> (B, F * hop)
        """
        for number in range(iterations):
            audio = Iteration(self, number).push(mel, audio, ends=True)
        return audio

    def first_frame(self, number: int) -> int:
        """The first frame of iteration `number` that is whole inside the signal."""
        earliest = ceil_div(self.left, self.hop)
        return earliest + (number - earliest) % self.every

    def target(self, mel: Tensor) -> Tensor:
        """The levels that a mel states, in nats: (B, n_mels, F) -> (B, F, bands)."""
        stated = mel[:, : self.bands].transpose(1, 2)
        return stated if self.nats == 1.0 else self.nats * stated

    def wanted(self, mel: Tensor) -> Tensor:
        """The same, and the most outside of its range: (B, n_mels, F) -> (B, F, bands + E)."""
        stated = self.target(mel)
        if not len(self.outside_bias):
            return stated
        outside = stated @ self.outside_weights.to(mel.dtype) + self.outside_bias.to(mel.dtype)
        return torch.cat([stated, outside], 2)

    def log_mel(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """The mel of frames, as `MelFrontEnd` defines it, and the spectra it is of.

        Shape:
            windows: (B, F, size) -> nats (B, F, bands), complex (B, F, size / 2 + 1)
        """
        spectrum = torch.fft.rfft(windows * self.window.to(windows.dtype))
        return self._levels(spectrum)[..., : self.bands], spectrum

    def gains(self, spectrum: Tensor, target: Tensor, inside: Tensor | None) -> Tensor:
        """By how many nats bins have to grow: as `Arithmetic.corrected` -> (B, F, bins)."""
        gain = target - self._levels(spectrum)
        if len(self.outside_bias):
            gain = torch.minimum(gain.clamp_min(-MAX_GAIN), self.most.to(gain.dtype))
        else:
            gain = gain.clamp(-MAX_GAIN, MAX_GAIN)
        if inside is not None:
            gain = gain * inside[..., None]
        return gain @ self.to_bins.to(gain.dtype)

    @functools.cached_property
    def filters(self) -> Filters:
        """The same matrices as machine code reads them."""
        limits = -MAX_GAIN, self.spec.floor, self._least_power
        matrices = self.filterbank.numpy(), self.to_bins.numpy(), self.most.numpy()
        return filters(*matrices, limits, self.size // 2 + 1)

    @functools.cached_property
    def windows(self) -> tuple[Any, Any]:
        """The windows of analysis and synthesis as machine code reads them."""
        return self.window.contiguous().numpy(), self.synthesis.contiguous().numpy()

    @property
    def _least_power(self) -> float:
        """What is added to the power of a bin."""
        return max(self.spec.magnitude_eps, 1e-20)

    def _levels(self, spectrum: Tensor) -> Tensor:
        """Levels of all bands, and outside of the mel's range: complex (B, F, K) -> nats (B, F, bands + E)."""
        used = magnitude(spectrum[..., : len(self.filterbank)], self._least_power)
        return (used @ self.filterbank.to(used.dtype)).clamp_min(self.spec.floor).log()

    def log_mel_of(self, audio: Tensor, count: int) -> Tensor:
        """The mel of a whole signal, with zeros beyond its ends: (B, T) -> nats (B, count, bands)."""
        after = (count - 1) * self.hop + self.size - self.left - audio.shape[1]
        padded = F.pad(audio, (self.left, max(0, after)))
        return self.log_mel(frames(padded, self.size, self.hop, count))[0]

    def correct(
        self,
        signal: Tensor,
        audio: Tensor,
        target: Tensor,
        inside: Tensor | None = None,
        arithmetic: Arithmetic = PYTORCH,
        length: float = 1.0,
    ) -> None:
        """Add to a signal what frames of audio, `stride` apart from its first sample on, lack to have these levels.

        Args:
            inside: which frames to correct; None: all.
            length: of the move, as in `postfilter.schedule`.

        Shape:
            signal, audio: (B, >= (F - 1) * stride + size), target: as `wanted`, (B, F, bands + E), inside: (B, F)
        """
        arithmetic.correct(signal, audio, target, inside, self, length)

    def change(self, windows: Tensor, target: Tensor, inside: Tensor | None = None) -> Tensor:
        """What to add to frames of audio, times the window, so that they have these levels; phases stay.

        Args:
            inside: which frames to correct, (B, F).

        Shape:
            windows: (B, F, size), target: what `wanted` gives, (B, F, bands + E) -> (B, F, size)
        """
        spectrum = torch.fft.rfft(windows * self.window.to(windows.dtype))
        return torch.fft.irfft(PYTORCH.corrected(spectrum, target, inside, self), self.size)


class Iteration:
    """One iteration of `MelConsistency` as a `Stage`.

    Args:
        consistency: what corrects frames.
        number: which iteration this is, from 0; it decides which frames are corrected.
        lengths: frames of each item in all, (B,), where they differ.
        arithmetic: what computes.
        length: of the move, as in `postfilter.schedule`.
        inside: what iterations over the same frames share; None: one of its own.
    """

    def __init__(
        self,
        consistency: MelConsistency,
        number: int,
        lengths: Tensor | None = None,
        arithmetic: Arithmetic = PYTORCH,
        length: float = 1.0,
        inside: "Inside | None" = None,
    ):
        self._consistency, self._arithmetic, self._length = consistency, arithmetic, length
        self._inside = inside or Inside(consistency, lengths)
        self.behind = consistency.size
        self._frame = consistency.first_frame(number)  # the next one to correct
        self._audio: Tensor | None = None  # from where the next frame begins on, or from the start of the signal
        self._corrected: Tensor | None = None  # the same with corrections
        self._start = 0  # sample at which they begin
        self._wanted: Tensor | None = None  # levels of frames that are still to be corrected
        self._wanted_start = 0  # the first of these frames

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`."""
        step = self._consistency
        self._wanted = joined(self._wanted, step.wanted(mel))
        self._audio, self._corrected = joined(self._audio, audio), joined(self._corrected, audio)
        begin = self._begin()
        whole = (self._audio.shape[1] - begin - step.size) // step.stride + 1
        stated = ceil_div(self._wanted_start + self._wanted.shape[1] - self._frame, step.every)
        if (count := min(whole, stated)) > 0:
            self._correct(self._wanted, self._audio[:, begin:], self._corrected, count)
        ready = self._corrected.shape[1] if ends else min(self._begin(), self._corrected.shape[1])
        done, self._corrected = split(self._corrected, ready)
        self._audio = self._audio[:, ready:]
        self._start += ready
        return done

    def _begin(self) -> int:
        """Where the next frame begins in the samples that are kept."""
        return self._frame * self._consistency.hop - self._consistency.left - self._start

    def _correct(self, wanted: Tensor, audio: Tensor, corrected: Tensor, count: int) -> None:
        """Correct the next `count` frames, of which the first begins with `audio`."""
        step, begin = self._consistency, self._begin()
        target = wanted[:, self._frame - self._wanted_start :: step.every][:, :count]
        self._corrected = corrected.clone()
        signal, inside = self._corrected[:, begin:], self._inside.of(self._frame, count)
        step.correct(signal, audio, target, inside, self._arithmetic, self._length)
        self._frame += count * step.every
        spent = min(self._frame - self._wanted_start, wanted.shape[1])
        self._wanted, self._wanted_start = wanted[:, spent:], self._wanted_start + spent


class Inside:
    """Which frames are whole inside their item. The last answer is kept: the next iteration mostly asks the same.

    Args:
        lengths: frames of each item in all, (B,), where they differ.
    """

    def __init__(self, consistency: MelConsistency, lengths: Tensor | None):
        self._consistency, self._lengths = consistency, lengths
        self._asked: tuple[int, int] | None = None
        self._answer: Tensor | None = None

    def of(self, first: int, count: int) -> Tensor | None:
        """Of `count` frames, `every` apart, (B, count); None where all items are as long."""
        if self._lengths is None:
            return None
        if (asked := (first, count)) != self._asked:
            step = self._consistency
            number = first + step.every * torch.arange(count, device=self._lengths.device)
            end = number * step.hop - step.left + step.size
            self._asked, self._answer = asked, end <= self._lengths[:, None] * step.hop
        return self._answer


def synthesis_window(window: Tensor, stride: int) -> Tensor:
    """What frames `stride` apart, times `window`, are multiplied with before overlap-add, (size,)."""
    pieces = ceil_div(len(window), stride)
    padded = F.pad(window, (0, pieces * stride - len(window)))
    overlapped = padded.square().view(pieces, stride).sum(0).clamp_min(0.1)
    return (padded / overlapped.repeat(pieces))[: len(window)]


def unit_level(bins: Tensor, window: Tensor) -> Tensor:
    """Filters over the same bins, (E, K), that show noise of standard deviation 1 at the level 1."""
    # The mean magnitude of a bin of noise, whose real and imaginary parts are normal.
    noise = math.sqrt(math.pi / 4 * float(window.square().sum()))
    return bins / (noise * bins.sum(1, keepdim=True))


def weights(spec: MelSpec, band: Band) -> Tensor:
    """How far each mel band belongs to a band from 0 Hz on, (n_mels,)."""
    within, beyond = band
    return ((beyond - band_centres(spec)) / (beyond - within)).clamp(0.0, 1.0)


def decimation(spec: MelSpec, band: Band) -> int:
    """The largest factor by which the rate can fall and still hold a band, in whole frames: 1, 2, 4 or 8."""
    offsets = (spec.hop_length, spec.n_fft, edge_padding(spec)[0], (spec.n_fft - spec.win_length) // 2)
    fits = [n for n in (2, 4, 8) if all(k % n == 0 for k in offsets) and spec.sample_rate / n > 2.4 * band[1]]
    return max(fits, default=1)
