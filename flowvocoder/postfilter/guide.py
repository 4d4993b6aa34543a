"""The lowest kilohertz in windows twice as long as a mel's, which tell pitch periods that a mel cannot."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.periodicity import autocorrelation
from flowvocoder.audio.stft import magnitude
from flowvocoder.mel.frontend import band_centres, interpolation
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.consistency import LOW, MOMENTUM, LowBand

UNLED = 8
"""Passes by the mel alone before the first round: a prediction has to have something to tell from."""

LED, ALONE = 10, 6
"""Passes of a round: by predicted magnitudes, and then by the mel."""

STRENGTH = 1.25
"""How far a round goes towards what is predicted: a median under doubt is short of what is there."""

SHARE = 0.1
"""Of its level: what is further below is all the same, here 20 dB."""

LARGEST = 2.0
"""Largest correction of a bin in one pass, in nats (17 dB)."""

FAINTEST = 1e-3
"""Lowest level of a bin: far below the dequantisation noise of 16 bits nothing needs to be told apart."""

WINDOW, LONGEST = 0.035, 1 / 50
"""Seconds: how much of a signal is compared with itself, and up to which period later."""

EDGE = 6
"""Fine frames at either end of a segment that nothing is learned from: what is before and after is not known there."""

SHORTEST, CREAK, ALIKE, CREAK_WEIGHT = 1 / 500, 1 / 125, 0.7, 3.0
"""A frame is one of a creaking voice if it is more like itself after some period from `CREAK` seconds on, and at least
`ALIKE`, than after any from `SHORTEST` to there; it counts so much more."""


class FineLayer(nn.Module):
    """Depthwise convolution over time, then two layers on each frame, added to what came in (Liu et al. 2022,
    arXiv:2201.03545): (B, J, C) -> (B, J, C)."""

    def __init__(self, channels: int, kernel: int = 7):
        super().__init__()
        self.over_time = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.inner = nn.Linear(channels, 2 * channels)
        self.outer = nn.Linear(2 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        # As an image one pixel high, of which torch knows that channels may be last in memory: no copies.
        kernel, image = self.over_time.weight[:, :, None], x.transpose(1, 2)[:, :, None]
        h = F.conv2d(image, kernel, self.over_time.bias, padding=(0, kernel.shape[3] // 2), groups=len(kernel))
        h = self.norm(h[:, :, 0].transpose(1, 2))
        return x + self.scale * self.outer(F.gelu(self.inner(h)))


class FineSpectrum(nn.Module):
    """Predicts the magnitudes of a recording's lowest kilohertz from its mel and a signal that has this mel nearly.

    A mel's window of 46 ms holds three periods of a creaking voice, and its bands are as wide as its harmonics are
    apart. Matching (`mel.matching.LowBand`) often ends at a signal with the right mel and a period of half the length.
    In windows of twice that length every second harmonic stands alone. How strong it is has to be guessed, by a network
    that has seen how such signals differ from recordings; then passes by these magnitudes take turns with passes by the
    mel, as it keeps learning from where they lead (as in Masuyama et al. 2019, arXiv:1903.03971, which puts the
    network between the projections).

    Magnitudes are logarithms of those over the level that the mel states, plus `SHARE`.

    Args:
        spec: of the mel; its low bands must be there at a lower rate (`LowBand`).
        channels, layers: of the network.

    Attributes:
        band: what tells the low band from the others.
        hop, size: low samples from one fine frame to the next, and in its window; frame j is around mel frame 2 j.
    """

    window: Tensor
    to_bins: Tensor
    unit: Tensor

    def __init__(self, spec: MelSpec, channels: int, layers: int):
        super().__init__()
        self.band = LowBand(spec)
        match = self.band.match
        rate = spec.sample_rate / match.decimate
        self.hop, self.size = 2 * match.hop, 2 * match.size
        self.bins = min(math.ceil(LOW[1] * self.size / rate) + 1, self.size // 2 + 1)
        self.compared, self.lags = round(WINDOW * rate), math.ceil(LONGEST * rate) + 1
        self.shortest, self.creak = round(SHORTEST * rate), round(CREAK * rate)
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        self.register_buffer("unit", match.filterbank.sum(0).log(), persistent=False)
        # A bin of the mel's window is as wide as two fine ones, and in the middle between them.
        hz = (torch.arange(self.bins) - 0.5).clamp_min(0.0) * rate / self.size
        self.register_buffer("to_bins", interpolation(band_centres(spec)[: match.bands], hz), persistent=False)
        self.start = nn.Linear(4 * match.bands + self.bins + self.lags, channels)
        self.layers = nn.ModuleList(FineLayer(channels) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.last = nn.Linear(channels, 2 * self.bins)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, low: Tensor, mel: Tensor, precision: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Magnitudes of the recording, their median and the log of how far off they may be, both (B, J, bins).

        Args:
            low: (B, F * hop of the mel at the low rate), a signal.
            mel: (B, n_mels, F).
            precision: of the network; None: that of its input.
        """
        own, change, spread = self._told(low, mel, precision)
        return own + change, spread

    def magnitudes(self, low: Tensor, mel: Tensor) -> Tensor:
        """Of a signal, (B, J, bins)."""
        frames = self._frames(low, (mel.shape[2] + 1) // 2, self.size)
        spectrum = torch.fft.rfft(frames * self.window.to(low.dtype))
        return self._compressed(spectrum[..., : self.bins], self.level(mel))

    def level(self, mel: Tensor) -> Tensor:
        """What magnitudes are where there is neither harmonic nor gap, (B, J, bins)."""
        match = self.band.match
        bands = match.nats * mel[:, : match.bands].transpose(1, 2) - self.unit
        mean = _pairs(bands).unflatten(2, (2, -1)).mean(2)
        # A window twice as long sums twice as much.
        return (2.0 * (mean @ self.to_bins.to(mel.dtype)).exp()).clamp_min(2.0 * FAINTEST)

    def refine(self, low: Tensor, mel: Tensor, passes: int, precision: torch.dtype | None = None) -> Tensor:
        """A signal after so many further passes: rounds of `LED` by predicted magnitudes and `ALONE` by the mel. What
        is left over, and less than that many, is by the mel.

        Shape:
            low: (B, F * hop of the mel at the low rate), mel: (B, n_mels, F) -> as low
        """
        level = self.level(mel)
        while passes >= LED + ALONE:
            own, change, _ = self._told(low, mel, precision)
            wanted = level * (own + STRENGTH * change).exp()
            low = _with_momentum(lambda x, wanted=wanted: x + self._toward(x, wanted, level), low, LED)  # type: ignore[misc]
            low = self.settle(low, mel, ALONE)
            passes -= LED + ALONE
        return self.settle(low, mel, passes)

    def loss(self, low: Tensor, recorded: Tensor, mel: Tensor, precision: torch.dtype | None = None) -> Tensor:
        """How badly the recording's magnitudes are told from a signal: the negative log-density of a Laplace
        distribution, so that what cannot be told does not weigh; creaking voice weighs more, since it is rare.

        Shape:
            low, recorded: (B, F * hop of the mel at the low rate), mel: (B, n_mels, F), F > 4 * EDGE -> scalar
        """
        median, spread = self(low, mel, precision)
        spread = spread.clamp(-5.0, 3.0)
        off = (self.magnitudes(recorded, mel) - median).abs() * (-spread).exp() + spread
        correlation = self._correlation(recorded, off.shape[1])
        short = correlation[..., self.shortest : self.creak].amax(2, keepdim=True)
        weight = 1.0 + CREAK_WEIGHT * (correlation[..., self.creak :].amax(2, keepdim=True) > short.clamp_min(ALIKE))
        inside = slice(EDGE, off.shape[1] - EDGE)
        return (weight * off)[:, inside].mean() / weight[:, inside].mean()

    def low_of(self, audio: Tensor) -> Tensor:
        """The low band of whole frames of audio: (B, F * hop_length) -> (B, F * hop of the mel at the low rate)."""
        band = self.band
        return band.lower(F.pad(audio, (band.reach, band.reach)))[:, : audio.shape[1] // band.decimate]

    def settle(self, low: Tensor, mel: Tensor, passes: int) -> Tensor:
        """A signal after passes by the mel alone; shapes as `refine`."""
        return _with_momentum(lambda x: self.band.match(x, mel, 1), low, passes)

    def _told(self, low: Tensor, mel: Tensor, precision: torch.dtype | None) -> tuple[Tensor, Tensor, Tensor]:
        """A signal's own magnitudes, what the network changes in them and how far off that may be."""
        match = self.band.match
        wanted = match.nats * mel[:, : match.bands].transpose(1, 2)
        missing = 4.0 * (wanted - self._mel_of(low, mel.shape[2])).clamp(-1.0, 1.0)
        own = self.magnitudes(low, mel)
        alike = 2.0 * self._correlation(low, own.shape[1])
        both = torch.cat([_pairs((wanted + 3.0) / 2.5), _pairs(missing), own, alike], 2)
        with torch.autocast(low.device.type, precision or torch.bfloat16, enabled=precision is not None):
            h = self.start(both)
            for layer in self.layers:
                h = layer(h)
            change, spread = self.last(self.norm(h)).to(own.dtype).chunk(2, 2)
        return own, change, spread

    def _toward(self, low: Tensor, wanted: Tensor, level: Tensor) -> Tensor:
        """What to add to a signal so that its frames have these magnitudes (plus `SHARE` of the level); phases stay."""
        frames = self._frames(low, wanted.shape[1], self.size)
        spectrum = torch.fft.rfft(frames * self.window.to(low.dtype))
        used = spectrum[..., : self.bins]
        gain = (wanted / (magnitude(used) + SHARE * level)).clamp(math.exp(-LARGEST), math.exp(LARGEST))
        # Squares of Hann's window, of which so many overlap, sum to 3/8 of their number.
        overlapped = 0.375 * self.size / self.hop
        added = torch.fft.irfft(used * (gain - 1.0), self.size) * (self.window.to(low.dtype) / overlapped)
        count, pieces = added.shape[1], self.size // self.hop
        total = low.new_zeros(len(low), count + pieces - 1, self.hop)
        for piece in range(pieces):
            total[:, piece : piece + count] += added[..., piece * self.hop : (piece + 1) * self.hop]
        whole = total.flatten(1)[:, self._before(self.size) :][:, : low.shape[1]]
        return F.pad(whole, (0, low.shape[1] - whole.shape[1]))

    def _before(self, size: int) -> int:
        """Low samples of a stretch around frame 0 that are before the signal."""
        return size // 2 + self.band.match.left - self.band.match.size // 2

    def _frames(self, low: Tensor, count: int, size: int) -> Tensor:
        """Stretches of `size` samples around so many fine frames, zeros beyond the ends: (B, count, size)."""
        before = self._before(size)
        after = (count - 1) * self.hop + size - before - low.shape[1]
        padded = F.pad(low, (before, max(0, after)))
        return padded.unfold(1, size, self.hop)[:, :count]

    def _mel_of(self, low: Tensor, frames: int) -> Tensor:
        """(B, F, bands), in nats."""
        match = self.band.match
        after = (frames - 1) * match.hop + match.size - match.left - low.shape[1]
        stretches = F.pad(low, (match.left, max(0, after))).unfold(1, match.size, match.hop)[:, :frames]
        spectrum = torch.fft.rfft(stretches * match.window.to(low.dtype))[..., : len(match.filterbank)]
        levels = magnitude(spectrum, max(match.spec.magnitude_eps, 1e-20))
        return (levels @ match.filterbank.to(low.dtype)).clamp_min(match.spec.floor).log()

    def _correlation(self, low: Tensor, count: int) -> Tensor:
        """How alike a signal is to itself some samples later around so many fine frames, in -1..1: (B, count, lags)."""
        reach = self.lags - 1
        return autocorrelation(self._frames(low, count, self.compared + reach), self.compared)

    def _compressed(self, spectrum: Tensor, level: Tensor) -> Tensor:
        return (magnitude(spectrum) / level + SHARE).log()


def _pairs(x: Tensor) -> Tensor:
    """(B, F, C) -> (B, ceil(F / 2), 2 * C), the last frame twice if it is alone."""
    return torch.cat([x, x[:, x.shape[1] - x.shape[1] % 2 :]], 1).unflatten(1, (-1, 2)).flatten(2)


def _with_momentum(one_pass: Callable[[Tensor], Tensor], low: Tensor, passes: int) -> Tensor:
    """Passes that each go on from the last by `MOMENTUM`."""
    moving = low
    for _ in range(passes):
        settled = one_pass(moving)
        moving, low = settled + MOMENTUM * (settled - low), settled
    return low
