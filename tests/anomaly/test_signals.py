"""Lines of signal evidence rise where samples cannot be speech, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import flowvocoder
from flowvocoder.anomaly.signals import SIGNALS, signal_lines

EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
FRAMES = 90
START, END = 30_000, 32_205
"""A tenth of a second of loud speech."""


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    samples, rate = sf.read(EXAMPLES / "kathleen.flac", dtype="float32", frames=60_000)
    return samples, rate


def line(name: str, samples: np.ndarray, rate: int) -> np.ndarray:
    lines = signal_lines(samples, rate, len(samples) * FRAMES // rate, FRAMES)
    return lines[list(SIGNALS).index(name)]


def broken(name: str, samples: np.ndarray) -> np.ndarray:
    made, part = samples.copy(), slice(START, END)
    if name == "gap":
        made[part] = 0.0
    if name == "repeat":
        made[part] = samples[START - (END - START) : START]
    if name == "flat tops":
        limit = 0.4 * np.abs(samples[part]).max()
        made[part] = samples[part].clip(-limit, limit)
    if name == "copy":
        made[part] = np.resize(samples[START - 150 : START], END - START) * np.linspace(1.0, 0.2, END - START)
    return np.rint(made * 32768) / 32768


@pytest.mark.parametrize("name", SIGNALS)
def test_a_line_is_highest_where_its_damage_is(name: str, speech: tuple[np.ndarray, int]) -> None:
    clean, found = line(name, *speech), line(name, broken(name, speech[0]), speech[1])
    first, last = START * FRAMES // speech[1], END * FRAMES // speech[1]
    assert np.isfinite(found).all() and first - 1 <= int(found.argmax()) <= last + 1
    assert found.max() > clean.max() + 0.5
    outside = np.r_[found[: first - 12] - clean[: first - 12], found[last + 13 :] - clean[last + 13 :]]
    assert outside.max() < 0.2


def test_silence_at_the_ends_or_after_a_fade_is_no_gap(speech: tuple[np.ndarray, int]) -> None:
    samples, rate = speech
    silence, fade = np.zeros(rate // 4, np.float32), np.linspace(1.0, 0.0, rate // 50) ** 2
    ended, begun = samples[:START].copy(), samples[END:].copy()
    ended[-len(fade) :] *= fade
    begun[: len(fade)] *= fade[::-1]
    edited = np.concatenate([silence, ended, silence, begun, silence])
    assert line("gap", edited, rate).max() == 0.0
    cut = np.concatenate([samples[:START], silence, samples[END:]])
    assert line("gap", cut, rate).max() > 1.0
