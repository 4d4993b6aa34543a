"""Candidates stand where samples do not follow from those before, at any sample rate, and say what is around them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import flowvocoder
from flowvocoder.anomaly import AnomalyDetector
from flowvocoder.anomaly.discontinuities import BREAK_FEATURES, candidates
from flowvocoder.audio.resample import resample

EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
FRAMES = 90
PLACE = 1.4
"""Seconds; within a vowel."""


def speech(rate: int) -> np.ndarray:
    samples, own = sf.read(EXAMPLES / "kathleen.flac", dtype="float32", frames=60_000)
    return resample(samples, own, rate)


def spliced(rate: int) -> np.ndarray:
    """Goes on with what comes 0.613 s later."""
    samples, at = speech(rate), round(PLACE * rate)
    return np.concatenate([samples[:at], samples[at + round(0.613 * rate) :]])


def clicked(rate: int) -> np.ndarray:
    samples = speech(rate)
    samples[round(PLACE * rate)] += 0.3 * np.abs(samples).max()
    return samples


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
@pytest.mark.parametrize("broken", [spliced, clicked])
def test_the_candidate_is_where_it_is_broken(broken: Callable[[int], np.ndarray], rate: int) -> None:
    samples = broken(rate)
    count = int(len(samples) / rate * FRAMES)
    found, seconds = candidates(samples, rate, count, FRAMES)
    assert found.shape == (count, len(BREAK_FEATURES)) and seconds.shape == (count,) and np.isfinite(found).all()
    near = np.abs(seconds - PLACE).argmin()
    assert abs(seconds[near] - PLACE) < 0.001 and abs(near - PLACE * FRAMES) < 1.5
    alone = found[:, BREAK_FEATURES.index("error alone")]
    assert alone[near] > np.median(alone) + 1.0


@pytest.mark.parametrize(("rate", "seconds"), [(1000, 0.1), (8000, 0.1), (96000, 0.5)])
def test_short_and_odd_audio_has_candidates(rate: int, seconds: float) -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(rate * seconds) + 1).astype(np.float32)
    for given in (samples, 0.0 * samples):
        found, _ = candidates(given, rate, max(1, int(len(given) / rate * FRAMES)), FRAMES)
        assert np.isfinite(found).all()


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "kind"), [(spliced, "splice"), (clicked, "click")])
def test_the_bundled_detector_tells_a_splice_from_a_click(broken: Callable[[int], np.ndarray], kind: str) -> None:
    detector = AnomalyDetector.load()
    (span,) = detector.spans(broken(22050), 22050)
    assert span.kind == kind and abs(span.start - PLACE) < 0.03 and abs(span.end - PLACE) < 0.03
    assert not detector.spans(speech(22050), 22050)
