"""The guide: a network that predicts harmonic magnitudes below 1 kHz, and iterations guided by them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowvocoder.audio.periodicity import autocorrelation
from flowvocoder.audio.stft import frames, magnitude
from flowvocoder.inference import plain_defaults
from flowvocoder.mel.frontend import band_centres, interpolation
from flowvocoder.mel.spec import MelSpec
from flowvocoder.postfilter.arithmetic import PYTORCH, Arithmetic
from flowvocoder.postfilter.consistency import LOW_BAND, MAX_GAIN
from flowvocoder.postfilter.low_band import LowBand
from flowvocoder.postfilter.schedule import STEADY
from flowvocoder.postfilter.stages import FastIterations
from flowvocoder.units import ceil_div

UNGUIDED_FIRST = 4
"""Mel-consistency iterations before the guided round: a prediction needs a signal that is roughly right."""

GUIDED = 10
"""Iterations towards the predicted magnitudes. Those towards the mel that follow bring the audio near to it."""

STRENGTH = 1.25
"""Share of the predicted change that is applied: a median under uncertainty falls short of what is there."""

MAX_CHANGE = 4.0
"""Largest predicted change of a magnitude that is believed, in nats (35 dB). Speech needs 3.7."""

RELATIVE_FLOOR = 0.1
"""Added to magnitudes over their level: what is further than 20 dB below it makes no difference."""

LOWEST_LEVEL = 1e-3
"""Of a bin, far below the dequantisation noise of 16 bits."""

CORRELATION_WINDOW, LONGEST_PERIOD = 0.035, 1 / 50
"""Seconds: the window of the autocorrelation, and its longest lag."""

STATED = 3.0, 2.5
"""Stated levels enter the network plus the first, over the second."""

EDGE = 6
"""Frames at either end of a segment without a loss: what lies beyond them is not known."""

SHORTEST_PERIOD, CREAK_PERIOD, CREAK_CORRELATION, CREAK_WEIGHT = 1 / 500, 1 / 125, 0.7, 3.0
"""A frame is creaky if its largest autocorrelation is at a period from `CREAK_PERIOD` seconds on, and at least
`CREAK_CORRELATION`. Its loss counts so much more, since creaky voice is rare."""


class GuideLayer(nn.Module):
    """A ConvNeXt block over time (Liu et al. 2022, arXiv:2201.03545): (B, J, C) -> (B, J, C).

    It sees zeros in place of frames that are not `inside`, (B, J, 1), as it does beyond the ends.
    """

    def __init__(self, channels: int, kernel: int = 7):
        super().__init__()
        self.over_time = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.inner = nn.Linear(channels, 2 * channels)
        self.outer = nn.Linear(2 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.3, dtype=torch.float32))

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        # As an image one pixel high, which torch convolves with channels last in memory: no copies.
        seen = x if inside is None else x * inside
        kernel, image = self.over_time.weight[:, :, None], seen.transpose(1, 2)[:, :, None]
        h = F.conv2d(image, kernel, self.over_time.bias, padding=(0, kernel.shape[3] // 2), groups=len(kernel))
        h = self.norm(h[:, :, 0].transpose(1, 2))
        return x + self.scale * self.outer(F.gelu(self.inner(h)))


class Guide(nn.Module):
    """Predicts the harmonic magnitudes of a recording below 1 kHz, from its mel and a signal that roughly has it.

    A mel's window of 46 ms holds three periods of a creaky voice, and its bands are as wide as the spacing of the
    harmonics. Mel consistency often ends at a signal with the right mel and half the period. In windows twice as long
    the harmonics are resolved, and a network predicts how strong each one is. Iterations towards these magnitudes
    alternate with iterations towards the mel, and the network sees where they lead (compare Masuyama et al. 2019,
    arXiv:1903.03971).

    Log magnitudes are relative to the level that the mel states, plus `RELATIVE_FLOOR`.

    Args:
        spec: of the mel, with n_fft a multiple of hop_length.
        channels, layers: of the network.

    Attributes:
        band: the low band, at the low rate.
        hop, size: low-rate samples between the guide's frames, and in a window. Frame j is around mel frame 2 j.
        bins: magnitudes per frame.
    """

    window: Tensor
    to_bins: Tensor
    unit: Tensor

    @plain_defaults()
    def __init__(self, spec: MelSpec, channels: int, layers: int):
        super().__init__()
        self.band = LowBand(spec)
        consistency = self.band.consistency
        rate = spec.sample_rate / self.band.decimate
        self.hop, self.size = 2 * consistency.hop, 2 * consistency.size
        self.bins = min(math.ceil(LOW_BAND[1] * self.size / rate) + 1, self.size // 2 + 1)
        self.correlated, self.lags = round(CORRELATION_WINDOW * rate), math.ceil(LONGEST_PERIOD * rate) + 1
        self.shortest, self.creak = round(SHORTEST_PERIOD * rate), round(CREAK_PERIOD * rate)
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        self.register_buffer("unit", consistency.filterbank[:, : consistency.bands].sum(0).log(), persistent=False)
        # A bin of the mel's window is as wide as two of these, and in the middle between them.
        hz = (torch.arange(self.bins, dtype=torch.float32) - 0.5).clamp_min(0.0) * rate / self.size
        to_bins = interpolation(band_centres(spec)[: consistency.bands], hz)
        self.register_buffer("to_bins", to_bins, persistent=False)
        self.start = nn.Linear(4 * consistency.bands + self.bins + self.lags, channels)
        self.layers = nn.ModuleList(GuideLayer(channels) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.last = nn.Linear(channels, 2 * self.bins)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, low: Tensor, mel: Tensor, precision: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """The predicted median of the recording's log magnitudes, and the log of its spread.

        Args:
            precision: of the network; None: that of its input.

        Shape:
            low: (B, F * hop of the mel at the low rate), mel: (B, n_mels, F) -> (B, J, bins) each
        """
        own, change, spread = self._predict(low, mel, precision)
        return own + change, spread

    def magnitudes(self, low: Tensor, mel: Tensor) -> Tensor:
        """The log magnitudes of a signal; shapes as `forward`."""
        spectrum = self._spectrum(low, ceil_div(mel.shape[2], 2))[..., : self.bins]
        return (magnitude(spectrum) / self.level(mel) + RELATIVE_FLOOR).log()

    def level(self, mel: Tensor) -> Tensor:
        """Magnitudes of a spectrum without harmonics that has this mel: (B, n_mels, F) -> (B, J, bins)."""
        bands = self.band.consistency.target(mel) - self.unit
        mean = _pairs(bands).unflatten(2, (2, -1)).mean(2)
        # A window twice as long sums twice as much.
        return (2.0 * (mean @ self.to_bins.to(mel.dtype)).exp()).clamp_min(2.0 * LOWEST_LEVEL)

    def guided_round(
        self,
        low: Tensor,
        mel: Tensor,
        precision: torch.dtype | None = None,
        arithmetic: Arithmetic = PYTORCH,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """A signal after `GUIDED` iterations towards the predicted magnitudes.

        Args:
            lengths: frames of each item, (B,), where they differ. Its samples after them are zeros, and stay.

        Shape:
            low: (B, F * hop of the mel at the low rate), mel: (B, n_mels, F) -> as low
        """
        mel = _held(mel.mT, lengths).mT
        level = self.level(mel)
        own, change, _ = self._predict(low, mel, precision, lengths)
        target = level * (own + STRENGTH * change.clamp(-MAX_CHANGE, MAX_CHANGE)).exp()
        inside = self._whole(target.shape[1], low, lengths)
        iteration = GuidedIteration(self, target, RELATIVE_FLOOR * level, inside, arithmetic)
        return FastIterations([iteration] * GUIDED, [STEADY.momentum] * GUIDED).push(mel, low, ends=True)

    def loss(self, low: Tensor, recorded: Tensor, mel: Tensor, precision: torch.dtype | None = None) -> Tensor:
        """Negative log-density of the recording's log magnitudes under Laplace distributions, creaky frames weighted.

        Shape:
            low, recorded: (B, F * hop of the mel at the low rate), mel: (B, n_mels, F), F > 4 * EDGE -> scalar
        """
        median, spread = self(low, mel, precision)
        spread = spread.clamp(-5.0, 3.0)
        error = (self.magnitudes(recorded, mel) - median).abs() * (-spread).exp() + spread
        correlation = self._autocorrelation(recorded, error.shape[1])
        short = correlation[..., self.shortest : self.creak].amax(2, keepdim=True)
        creaky = correlation[..., self.creak :].amax(2, keepdim=True) > short.clamp_min(CREAK_CORRELATION)
        weight = 1.0 + CREAK_WEIGHT * creaky
        inside = slice(EDGE, error.shape[1] - EDGE)
        return (weight * error)[:, inside].mean() / weight[:, inside].mean()

    def change(
        self, low: Tensor, target: Tensor, floor: Tensor, inside: Tensor, arithmetic: Arithmetic = PYTORCH
    ) -> Tensor:
        """What to add to a signal so that its frames have the target magnitudes; phases stay.

        Args:
            inside: 1 for frames that change. Those that reach over an end do not: the network was not taught on them.

        Shape:
            low: (B, T), target and floor: (B, J, bins), the target with the floor in it, inside: (J, 1) or (B, J, 1) ->
            (B, T)
        """
        spectrum = self._spectrum(low, target.shape[1], arithmetic)
        change = arithmetic.towards(spectrum, target, floor, MAX_GAIN, inside)
        # n overlapping squared Hann windows sum to 3/8 n.
        synthesis = self.window.to(low.dtype) / (0.375 * self.size / self.hop)
        before, count = self._before(self.size), target.shape[1]
        added = low.new_zeros(len(low), max(before + low.shape[1], (count - 1) * self.hop + self.size))
        arithmetic.add(added, torch.fft.irfft(change, self.size), synthesis, self.hop)
        return added[:, before : before + low.shape[1]]

    def _predict(
        self, low: Tensor, mel: Tensor, precision: torch.dtype | None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A signal's own log magnitudes, their predicted change, and the log of its spread."""
        consistency = self.band.consistency
        stated = consistency.target(mel)
        missing = _held(4.0 * (stated - consistency.log_mel_of(low, mel.shape[2])).clamp(-1.0, 1.0), lengths)
        own = self.magnitudes(low, mel)
        correlation = 2.0 * self._autocorrelation(low, own.shape[1])
        inside = None
        if lengths is not None:  # of both frames of a pair the first one
            inside = (2 * torch.arange(own.shape[1], device=low.device) < lengths[:, None])[..., None]
        inputs = torch.cat([_pairs((stated + STATED[0]) / STATED[1]), _pairs(missing), own, correlation], 2)
        with torch.autocast(low.device.type, precision or torch.bfloat16, enabled=precision is not None):
            h = self.start(inputs)
            for layer in self.layers:
                h = layer(h, inside)
            change, spread = self.last(self.norm(h)).to(own.dtype).chunk(2, 2)
        return own, change, spread

    def _spectrum(self, low: Tensor, count: int, arithmetic: Arithmetic = PYTORCH) -> Tensor:
        padded = self._padded(low, count, self.size)
        return torch.fft.rfft(arithmetic.windows(padded, self.window.to(low.dtype), self.hop, count))

    def _whole(self, count: int, low: Tensor, lengths: Tensor | None = None) -> Tensor:
        """1 for frames that lie within the signal, 0 for those that reach over an end, (count, 1) or (B, count, 1)."""
        start = self.hop * torch.arange(count, device=low.device)[:, None] - self._before(self.size)
        end = low.shape[1] if lengths is None else self.band.consistency.hop * lengths[:, None, None]
        return ((start >= 0) & (start + self.size <= end)).to(low.dtype)

    def _before(self, size: int) -> int:
        """Samples before the signal in a stretch of `size` around frame 0."""
        consistency = self.band.consistency
        return size // 2 + consistency.left - consistency.size // 2

    def _frames(self, low: Tensor, count: int, size: int) -> Tensor:
        """Stretches of `size` samples around the guide's frames, zeros beyond the ends: (B, count, size)."""
        return frames(self._padded(low, count, size), size, self.hop, count)

    def _padded(self, low: Tensor, count: int, size: int) -> Tensor:
        """A signal from the first of these stretches to the end of the last."""
        before = self._before(size)
        after = (count - 1) * self.hop + size - before - low.shape[1]
        return F.pad(low, (before, max(0, after)))

    def _autocorrelation(self, low: Tensor, count: int) -> Tensor:
        """Normalised, around each of the first `count` guide frames, in -1..1: (B, T) -> (B, count, lags)."""
        return autocorrelation(self._frames(low, count, self.correlated + self.lags - 1), self.correlated)


class GuidedIteration:
    """One iteration towards target magnitudes as a `Stage` of a whole signal. Takes what `Guide.change` does."""

    behind = 0

    def __init__(self, guide: Guide, target: Tensor, floor: Tensor, inside: Tensor, arithmetic: Arithmetic = PYTORCH):
        self._guide, self._given = guide, (target, floor, inside, arithmetic)

    def push(self, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        """As `Stage.push`, for all of a signal at once."""
        return audio + self._guide.change(audio, *self._given)


def _held(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, F, C) in which frames after the length of their item are as its last one."""
    if lengths is None:
        return x
    at = torch.arange(x.shape[1], device=x.device).minimum((lengths - 1).clamp_min(0)[:, None])
    return x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))


def _pairs(x: Tensor) -> Tensor:
    """(B, F, C) -> (B, ceil(F / 2), 2 * C), the last frame twice if it has no partner."""
    return torch.cat([x, x[:, x.shape[1] - x.shape[1] % 2 :]], 1).unflatten(1, (-1, 2)).flatten(2)
