"""What audio looks like every 11 ms: spectrum, its floor and lines, transients, samples, and the flow's latent.

All of it is relative to the loudest speech within two seconds, so that a recording's level does not matter. It depends
on no more than `REACH` seconds to each side, but for lines that stay: those are of a block of some four seconds.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowvocoder.anomaly.discontinuities import BREAK_FEATURES, candidates
from flowvocoder.anomaly.framing import FRAMES, HOP, RATE, at_rate, padded
from flowvocoder.anomaly.signals import SIGNALS, block_max, repeats, run_lengths, signal_lines
from flowvocoder.anomaly.spectrograms import SPECTROGRAM, fine_spectra, spectrogram
from flowvocoder.anomaly.steady import MAINS, STEADY, above_neighbours, steady
from flowvocoder.audio.files import Samples
from flowvocoder.audio.stft import power, stft
from flowvocoder.extras import librosa
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.units import PCM16_SCALE
from flowvocoder.vocoder import Vocoder

REACH = 2.5
"""Seconds to each side that a frame's features may depend on."""

SHORTEST = 0.1
"""Seconds of audio that have features."""

BANDS, EDGES, SPECTRUM, SHORT, ORDER = 40, 32, 1024, 128, 20
"""Mel bands, linear bands, samples of the two transforms' windows, order of the linear prediction."""

TOP_BANDS, TOP_FROM, TOP_WINDOW = 20, 0.8, 2048
"""Bands below half of the recording's own rate, the share of it that they begin at, and samples of the window."""

FURTHEST = 60.0
"""No feature is further from 0."""

SPAN, SHORT_HOP = 2.0, HOP // 7
"""Seconds to each side within which the loudest speech is looked for; samples between short spectra."""

NAMES = (
    *(f"mel {band}" for band in range(BANDS)),
    "level",
    *(f"highest {band}" for band in range(EDGES)),
    *(f"floor {band}" for band in range(BANDS // 2)),
    *(f"flatness {part}" for part in range(4)),
    *(f"line {part}" for part in range(4)),
    "low line", "three low lines", "lines of 50 Hz", "lines of 60 Hz",
    *(f"peaks {band}" for band in range(8)),
    *(f"coherence {band}" for band in range(7)),
    "impulse", "rise", "fall",
    "prediction gain", "residual crest", "residual burst", "residual kurtosis", "residual skew",
    "constant run", "flat top", "near the top", "near the top of seconds", "exact repeat", "offset",
    *(f"latent {band}" for band in range(16)),
    "pitch gain", "likelihood", "latent energy", "latent kurtosis", "latent peak", "latent lag",
    *(f"top mean {band}" for band in range(TOP_BANDS)),
    *(f"top floor {band}" for band in range(TOP_BANDS)),
    *(f"top highest {band}" for band in range(TOP_BANDS)),
    "top",
)  # fmt: skip
"""Of the columns that say what a piece is as a whole."""

EDGE = slice(NAMES.index("top mean 0"), len(NAMES))
"""Where those of the recording's own band edge are."""

FEATURES = (*NAMES, *BREAK_FEATURES, *SIGNALS, *STEADY, *SPECTROGRAM)
"""Of all columns."""


def _slices(*parts: tuple[str, ...]) -> Iterator[slice]:
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    return itertools.starmap(slice, itertools.pairwise(ends))


BREAK_COLUMNS, SIGNAL_COLUMNS, STEADY_COLUMNS, SPECTRUM_COLUMNS = itertools.islice(
    _slices(NAMES, BREAK_FEATURES, tuple(SIGNALS), STEADY, SPECTROGRAM), 1, None
)
"""Where the others are."""

Features = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

_LEAST = 1e-10


@functools.cache
def voice() -> Vocoder:
    """The bundled voice, whose latent is looked at; loaded once."""
    return Vocoder.from_pretrained()


def features(samples: Samples, rate: int) -> Features:
    """Columns (F, `len(FEATURES)`) of audio (T,) at a rate in Hz, `FRAMES` of them a second."""
    audio = at_rate(samples, rate)
    count = len(audio) // HOP
    spectra = power(stft(padded(audio, SPECTRUM, HOP, count), SPECTRUM, HOP, center=False))[:, :count]
    short = _short(audio, count)
    total = np.log(spectra.sum(0).numpy().astype(np.float64) + _LEAST)
    loud = _extreme(_smooth(total, 5), SPAN, np.maximum)
    columns = [
        *_spectral(spectra, loud, total),
        *_low_lines(audio, count),
        *_transients(short, count),
        *_residual(audio, spectra, count),
        *_sampled(samples, rate, count),
        *_latent(audio, count, voice()),
        *band_edge(samples, rate, count),
        *candidates(samples, rate, count, FRAMES)[0].T,
        *signal_lines(samples, rate, count, FRAMES),
    ]
    fine = fine_spectra(audio, count)
    more = steady(fine, audio, count), spectrogram(fine, audio, samples, rate, count)
    found = np.concatenate([np.stack(columns, 1), *more], 1)
    return np.nan_to_num(found).clip(-FURTHEST, FURTHEST).astype(np.float32)


def _spectral(spectra: Tensor, loud: Array, total: Array) -> list[Array]:
    bands = np.log((_mel_bands() @ spectra).numpy().astype(np.float64) + _LEAST)
    linear = np.log(spectra[1:].unflatten(0, (EDGES, -1)).sum(1).numpy().astype(np.float64) + _LEAST)
    pairs = np.logaddexp(bands[::2], bands[1::2])
    floor = _extreme(_smooth(pairs, 3), 1.0, np.minimum)
    logs = np.log(spectra.numpy().astype(np.float64) + _LEAST)
    return [
        *(np.maximum(bands - loud, -22.0)),
        total - loud,
        *np.maximum(_extreme(linear, 1.0, np.maximum) - loud, -22.0),
        *np.maximum(floor - loud, -22.0),
        *_flatness(logs),
        *_lines(logs),
    ]


def _flatness(logs: Array) -> list[Array]:
    """Geometric over arithmetic mean, in four ranges."""
    parts = np.array_split(logs[1:], 4)
    return [part.mean(0) - np.log(np.exp(part).mean(0)) for part in parts]


def _lines(logs: Array) -> list[Array]:
    """How far the strongest line of the spectrum that stays for a second is above its neighbours, in four ranges."""
    floor = _extreme(logs, 0.5, np.minimum)
    return [part.max(0) for part in np.array_split(above_neighbours(floor, 15)[3:], 4)]


def _low_lines(audio: Tensor, count: int, size: int = 4096, every: int = 6) -> list[Array]:
    """The same below 700 Hz, where mains hum is, at 5 Hz: the strongest, and means over multiples of 50 and 60 Hz."""
    few = max(1, -(-count // every))
    spectra = power(stft(padded(audio, size, HOP * every, few), size, HOP * every, center=False))[:135, :few]
    logs = np.log(spectra.numpy().astype(np.float64) + _LEAST)
    lines = above_neighbours(_extreme(logs, 0.6, np.minimum, FRAMES // every), 21)[4:]
    ordered = np.sort(lines, axis=0)
    found = [ordered[-1], ordered[-3:].mean(0)]
    for mains in MAINS:
        at = [round(k * mains * size / RATE) - 4 for k in range(1, 9)]
        found.append(np.mean([lines[a - 1 : a + 2].max(0) for a in at], axis=0))
    return [np.repeat(line, every)[:count] for line in found]


def _short(audio: Tensor, count: int) -> Array:
    """Log power of eight bands, (8, 7 * frames), every 1.6 ms."""
    steps = count * HOP // SHORT_HOP
    spectra = power(stft(padded(audio, SHORT, SHORT_HOP, steps), SHORT, SHORT_HOP, center=False))[1:, :steps]
    return np.log(spectra.unflatten(0, (8, -1)).sum(1).numpy().astype(np.float64) + _LEAST)


def _transients(short: Array, count: int) -> list[Array]:
    """How peaked the bands are in time, how alike neighbouring bands are, and what is sudden in all of them."""
    from scipy import ndimage

    each = HOP // SHORT_HOP
    linear = np.exp(short - short.max(1, keepdims=True))
    window = 3 * each
    peaks = np.log(_mean(linear, window) + 1e-9) - _mean(np.log(linear + 1e-9), window)
    centred = short - _mean(short, 5 * each)
    spread = _mean(centred**2, 5 * each) + 1e-3
    alike = _mean(centred[1:] * centred[:-1], 5 * each) / np.sqrt(spread[1:] * spread[:-1])
    usual = ndimage.median_filter(short, (1, 15 * each), mode="nearest")
    impulse = (short - usual).min(0).reshape(count, each).max(1)
    whole = np.log(np.exp(short).sum(0))
    step = np.zeros_like(whole)
    step[2:-2] = whole[4:] - whole[:-4]
    middle = slice(each // 2, None, each)
    steps = step.reshape(count, each)
    return [*peaks[:, middle], *alike[:, middle], impulse, steps.max(1), steps.min(1)]


def _residual(audio: Tensor, spectra: Tensor, count: int) -> list[Array]:
    """Of linear prediction: how well it predicts, and how peaked, sudden and lopsided the rest is."""
    from scipy import ndimage

    lags = torch.fft.irfft(spectra.double(), dim=0)[: ORDER + 1].T  # (F, ORDER + 1)
    lags = lags + _LEAST
    lags[:, 0] *= 1.0 + 1e-6
    apart = torch.arange(ORDER)
    matrices = lags[:, (apart[:, None] - apart).abs()]
    weights = torch.linalg.solve(matrices, lags[:, 1:])  # (F, ORDER)
    gain = torch.log(lags[:, 0] / (lags[:, 0] - (weights * lags[:, 1:]).sum(1)).clamp_min(1e-12))
    before = torch.nn.functional.pad(audio.double(), (ORDER, 0))[: count * HOP + ORDER]
    windows = before.unfold(0, HOP + ORDER, HOP)[:count].unfold(1, ORDER + 1, 1)  # (F, HOP, ORDER + 1)
    filters = torch.cat([-weights.flip(1), torch.ones(count, 1)], 1)
    rest = torch.bmm(windows, filters[:, :, None])[:, :, 0].numpy()
    size = np.sqrt((rest**2).mean(1)) + 1e-7
    peak = np.abs(rest).max(1)
    usual = ndimage.median_filter(size, 25, mode="nearest")
    scaled = rest / size[:, None]
    wide = _mean(np.stack([(scaled**3).mean(1)]), 91)[0]
    return [
        gain.numpy(),
        np.log(peak / size + 1e-9),
        np.log(peak / usual + 1e-9),
        np.log((scaled**4).mean(1) + 1e-9),
        wide,
    ]


def _sampled(samples: Samples, rate: int, count: int) -> list[Array]:
    """What only the samples as they are stored show: runs, flat tops, repeats, an offset."""
    whole = np.rint(samples.astype(np.float64) * PCM16_SCALE)
    size = np.abs(whole)
    runs = run_lengths(np.diff(whole) == 0.0)
    near, wide = (block_max(size, round(seconds * rate)) for seconds in (0.15, 1.0))
    enough = near > 300.0
    flat = (run_lengths(np.abs(np.diff(whole)) <= 1.0) >= 3) & (size > 0.6 * near) & enough
    at = np.minimum((np.arange(count + 1) * (HOP * rate / RATE)).astype(int), len(whole) - 1)
    width = np.maximum(np.diff(at), 1)
    longest = np.maximum.reduceat(runs, at[:-1])[:count] * 1000.0 / rate
    ones = (flat, (size > 0.85 * near) & enough, (size > 0.85 * wide) & enough, repeats(whole, rate) > 0.0)
    shares = [np.add.reduceat(one.astype(np.float64), at[:-1])[:count] / width for one in ones]
    frame_mean = np.add.reduceat(whole, at[:-1])[:count] / width
    offset = (
        np.abs(_mean(frame_mean[None], 2 * FRAMES + 1)[0]) / (_mean(np.abs(frame_mean)[None] + 3.0, 2 * FRAMES + 1)[0])
    )
    large = np.log1p(np.abs(_mean(frame_mean[None], 2 * FRAMES + 1)[0]))
    return [np.log1p(longest), *(np.log(share + 1e-3) for share in shares), offset * large]


def band_edge(samples: Samples, rate: int, count: int) -> list[Array]:
    """The spectrum below half of the recording's own rate: mean, floor and highest within a second of each band.

    Resampling leaves its filter's edge there (compare Popescu and Farid 2005, who look for interpolation's period).
    All are relative to the lowest four bands; the last column is the mean of these, relative to the loudest frame.
    """
    at = np.minimum((np.arange(count) * (rate / FRAMES)).astype(int), len(samples) - 1)
    padded = np.pad(samples, TOP_WINDOW // 2)
    windows = torch.from_numpy(padded[at[:, None] + np.arange(TOP_WINDOW)]) * torch.hann_window(TOP_WINDOW)
    spectra = torch.fft.rfft(windows).abs().square().numpy().astype(np.float64)
    edges = np.round(np.linspace(TOP_FROM, 1.0, TOP_BANDS + 1) * (TOP_WINDOW // 2)).astype(int)
    bands = np.add.reduceat(spectra, edges[:-1], 1).T / np.diff(edges)[:, None]
    mean = np.log(_mean(bands, 2 * FRAMES + 1) + _LEAST)
    floor = _extreme(_smooth(np.log(bands + _LEAST), 5), 1.0, np.minimum)
    highest = _extreme(np.log(bands + _LEAST), 1.0, np.maximum)
    loud = _extreme(np.log(spectra.sum(1) + _LEAST), SPAN, np.maximum)
    relative = [row for rows in (mean, floor, highest) for row in rows - rows[:4].mean(0)]
    return [*relative, mean[:4].mean(0) - loud]


def _latent(audio: Tensor, count: int, vocoder: Vocoder) -> list[Array]:
    """The flow on the way to its latent: energy by band given the mel, how much pitch explains, and how normal z is."""
    mel = vocoder.mel_for(audio)
    frames, hop = mel.shape[2], vocoder.spec.hop_length
    x = torch.nn.functional.pad(audio, (0, frames * hop - len(audio)))[None, None]
    own = _energy(x[0, 0].view(frames, hop))
    bands = predicted = z = x
    logdet = torch.zeros(1, frames)
    with torch.inference_mode():
        for layer, z, by_column in vocoder.model.flow.layer_outputs(x, vocoder.model.encoder(mel)):
            logdet = logdet + by_column.unflatten(1, (frames, -1)).sum(2)
            if isinstance(layer, PitchPredictor):
                predicted = z
            if isinstance(layer, ConditionalScale):
                bands = z
    gain = own - _energy(predicted[0, 0].view(frames, hop))
    if bands.shape[1] == 1:
        bands = z
    levels = _energy(bands[0].unflatten(0, (16, -1)).unflatten(2, (frames, -1)).permute(0, 2, 1, 3).flatten(2))
    columns = z[0].unflatten(1, (frames, -1)).permute(1, 0, 2).flatten(1).double()  # (frames, M * rate)
    square = columns.square().mean(1)
    nats = logdet[0].double() / hop - 0.5 * square + 0.5 * own
    lag = torch.zeros(frames, dtype=torch.float64)
    lag[1:] = (columns[1:] * columns[:-1]).mean(1) / (square[1:] * square[:-1]).sqrt().clamp_min(1e-6)
    kurtosis = (columns**4).mean(1) / square.square().clamp_min(1e-9)
    found = [*levels, gain, nats, square.clamp_min(1e-6).log(), kurtosis.log1p(), columns.abs().amax(1).log1p(), lag]
    at = np.minimum((np.arange(count) * HOP + HOP // 2) // hop, frames - 1)
    return [np.asarray(column.double())[at] for column in found]


def _energy(x: Tensor) -> Tensor:
    """Log mean square over the last axis."""
    return (x.double().square().mean(-1) + 1e-9).log()


@functools.cache
def _mel_bands() -> Tensor:
    return torch.from_numpy(librosa().filters.mel(sr=RATE, n_fft=SPECTRUM, n_mels=BANDS, fmax=RATE / 2))


def _extreme(values: Array, seconds: float, take: Any, rate: int = FRAMES) -> Array:
    """The largest or smallest within so many seconds to each side."""
    from scipy import ndimage

    size = 2 * round(seconds * rate) + 1
    keep = ndimage.maximum_filter1d if take is np.maximum else ndimage.minimum_filter1d
    return np.asarray(keep(values, size, axis=-1, mode="nearest"))


def _smooth(values: Array, size: int) -> Array:
    return np.log(_mean(np.exp(np.atleast_2d(values)), size) + 1e-30).reshape(values.shape)


def _mean(values: Array, size: int) -> Array:
    """Moving mean over the last axis."""
    from scipy import ndimage

    return np.asarray(ndimage.uniform_filter1d(values, size, axis=-1, mode="nearest"))
