"""What all measures share: the rate they work at, magnitudes, speech frames, and a pair made comparable."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import torch

from flowvocoder.audio.resample import resample
from flowvocoder.audio.stft import stft
from flowvocoder.errors import AudioError
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec
from flowvocoder.units import seconds

RATE = 22050
"""Hz; every pair is brought to it, so that figures of models with different rates can be compared."""

SHORTEST = RATE // 10
"""Samples; less than 0.1 s is not compared."""

SPEECH_DB = 40.0
"""A frame is speech if its level is within so much of the 95th percentile of all frames."""

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity, so that what is worked out of it can be kept
class Pair:
    """A recording and its copy at RATE: of one length, aligned, of one RMS level, without mean.

    Attributes:
        gain_db: what was added to the copy's level.
        notes: why a measure is not defined, for people; measures add to them.
    """

    reference: Values
    generated: Values
    gain_db: float
    notes: list[str] = dataclasses.field(default_factory=list)


def to_rate(samples: npt.ArrayLike, sample_rate: int, new_rate: int = RATE) -> Values:
    """Band-limited resampling in double precision."""
    samples = np.asarray(samples, dtype=np.float64)
    return samples if sample_rate == new_rate else resample(samples, sample_rate, new_rate)


def make_pair(reference: Values, generated: Values, lag: int = 0) -> Pair:
    """The common part of reference[n] and generated[n + lag], both (T,) at RATE, at the reference's level.

    Raises:
        AudioError: less than 0.1 s in common.
    """
    reference, generated = common_part(reference, generated, lag)
    if len(reference) < SHORTEST:
        have, need = seconds(len(reference), RATE), seconds(SHORTEST, RATE)
        raise AudioError(
            f"{len(reference)} samples ({have:.3f} s) in common are too few to measure, {need:.3f} s needed"
        )
    gain = level_gain(reference, generated)
    generated = generated * gain
    return Pair(reference - reference.mean(), generated - generated.mean(), float(20.0 * np.log10(max(gain, 1e-10))))


def common_part(reference: Values, generated: Values, lag: int) -> tuple[Values, Values]:
    """reference[n] beside generated[n + lag], cut to where both exist."""
    reference, generated = reference[max(0, -lag) :], generated[max(0, lag) :]
    length = min(len(reference), len(generated))
    return reference[:length], generated[:length]


def level_gain(reference: Values, generated: Values) -> float:
    """Factor that gives `generated` the RMS level of `reference`."""
    return float(np.sqrt(np.square(reference).mean() / (np.square(generated).mean() + 1e-20)))


def magnitudes(samples: Values, n_fft: int, hop: int, window: int) -> Values:
    """STFT magnitudes (frames, n_fft / 2 + 1): Hann window of `window` samples, centred, reflected at the ends."""
    spectrum = stft(torch.from_numpy(np.ascontiguousarray(samples)), n_fft, hop, window)
    return np.asarray(spectrum.abs().T.numpy())


def speech_frames(magnitude: Values) -> Flags:
    """Which frames (frames,) of (frames, bins) are speech rather than pause."""
    level = 10.0 * np.log10(np.square(magnitude).sum(axis=1) + 1e-12)
    return np.asarray(level > np.percentile(level, 95) - SPEECH_DB)


def log_mel(samples: Values) -> Values:
    """(frames, 80), ln, 0-8 kHz, frames of 1024 samples 256 apart, no frame over the ends."""
    mel: torch.Tensor = _front_end()(torch.from_numpy(np.ascontiguousarray(samples)))
    return np.asarray(mel.T.numpy())


def cepstral_distance(difference: Values) -> Values:
    """Mel-cepstral distortion in dB of each frame, from differences (frames, coefficients) (Kubichek 1993)."""
    return np.asarray(10.0 / np.log(10.0) * np.sqrt(2.0 * np.square(difference).sum(axis=1)))


@functools.cache
def _front_end() -> torch.nn.Module:
    return MelFrontEnd(MelSpec(sample_rate=RATE, padding="same")).double()
