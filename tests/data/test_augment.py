"""What a segment becomes: each change alone does what its setting says."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import train
from helpers import speech_like
from safetensors.torch import load_file

from flowvocoder.audio.bandwidth import band_edge
from flowvocoder.audio.files import Recording
from flowvocoder.cli.main import main
from flowvocoder.config import AS_IT_IS, AugmentSettings, DataSettings
from flowvocoder.data.augment import Augmenter, highest_shown
from flowvocoder.data.corpus import find_utterances
from flowvocoder.data.segments import SegmentSampler
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS
from flowvocoder.presets import preset
from flowvocoder.units import PCM16_STEP

SPEC = CONVENTIONS["tacotron2"]
RATE, SEGMENT = SPEC.sample_rate, 16384
SHOWN = highest_shown(SPEC)


def noise(seconds: float = 3.0, rate: int = RATE, level: float = 0.05) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(int(seconds * rate))).astype(np.float32)


def lowpassed(x: np.ndarray, rate: int, edge: float) -> np.ndarray:
    """Ideally, then rounded to 16 bits."""
    spectrum = np.fft.rfft(x)
    spectrum[np.linspace(0, rate / 2, len(spectrum)) > edge] = 0
    return (np.rint(np.fft.irfft(spectrum, len(x)) / PCM16_STEP) * PCM16_STEP).astype(np.float32)


class Speed:
    """In place of a generator: every change happens, and resampling is by the most to this power."""

    def __init__(self, power: float):
        self.power = power

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return self.power if low < 0 else 0.0


def altered(x: np.ndarray, count: int = 8, rate: int = RATE, band: str = "keep", **changes: float) -> list[np.ndarray]:
    augmenter = Augmenter(SPEC, SEGMENT, DataSettings(band=band, augment=AugmentSettings(**changes)))
    source = augmenter.source(Recording(x, rate))
    left = augmenter.left
    generators = [np.random.default_rng((1, item)) for item in range(count)]
    return [augmenter(source, i / count, g)[left : left + SEGMENT] for i, g in enumerate(generators)]


def spectrum_db(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Hz, mean level in dB) in steps of 100 Hz."""
    frames = np.lib.stride_tricks.sliding_window_view(x, 1024)[::256] * np.hanning(1024)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(0)[:510].reshape(-1, 5).mean(1)
    return np.linspace(0, RATE / 2, 513)[:510].reshape(-1, 5).mean(1), 10 * np.log10(power + 1e-12)


def peak_hz(x: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))))
    return float(np.argmax(spectrum) * RATE / len(x))


def test_without_a_change_segments_are_cut_as_ever(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", speech_like(3.0, RATE), RATE, subtype="PCM_16")
    found = find_utterances(tmp_path)
    as_it_is, shown = (SegmentSampler(found, SPEC, SEGMENT, data=d) for d in (AS_IT_IS, DataSettings(band="shown")))
    a, b = as_it_is.batch(3, 4), shown.batch(3, 4)
    whole = found[0].read(RATE)
    assert a.ids == b.ids and torch.allclose(a.mel.exp().mean(), b.mel.exp().mean(), rtol=0.5)
    for batch in (a, b):
        for audio in batch.audio.numpy():
            (begin,) = [i for i in np.flatnonzero(np.isclose(whole[: -SEGMENT + 1], audio[0], atol=1e-7))
                        if np.array_equal(whole[i : i + SEGMENT], audio)]  # fmt: skip
            assert 0 <= begin <= len(whole) - SEGMENT


def test_the_mel_is_that_of_the_altered_segment(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", speech_like(3.0, 48000), 48000)
    data = preset("universal-22k-stage1").train.data
    batch = SegmentSampler(find_utterances(tmp_path), SPEC, SEGMENT, data=data).batch(0, 6)
    inside = slice(4, -4)
    assert torch.allclose(batch.mel[:, :, inside], MelFrontEnd(SPEC)(batch.audio)[:, :, :64][:, :, inside], atol=1e-4)
    assert torch.equal(batch.audio, (batch.audio / PCM16_STEP).round() * PCM16_STEP) and batch.audio.abs().max() < 1


def test_speed_moves_pitch_within_its_range() -> None:
    time = np.arange(6 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 1000.0 * time)).astype(np.float32)
    heard = [peak_hz(x) for x in altered(tone, 40, resample=1.0)]
    assert min(heard) < 800 and max(heard) > 1250
    assert all(1000 / 1.42 < hz < 1420 for hz in heard)
    # A clean tone stays one: nothing is heard of the ends of the transform.
    for x in altered(tone, 8, resample=1.0):
        hz, level = spectrum_db(x)
        assert level[np.abs(hz - peak_hz(x)) > 300].max() < level.max() - 70


def test_another_rate_is_only_resampled() -> None:
    tone = (0.3 * np.sin(2 * np.pi * 1000.0 * np.arange(6 * 48000) / 48000)).astype(np.float32)
    for x in altered(tone, 4, 48000, resample=1e-9):
        assert abs(peak_hz(x) - 1000) < 2 and np.std(x) == pytest.approx(0.3 / np.sqrt(2), rel=0.01)


def test_a_short_recording_is_not_made_shorter_than_a_segment() -> None:
    x = noise(SEGMENT / RATE + 0.001)
    for segment in altered(x, 12, resample=1.0):
        assert np.abs(segment).max() > 0.05 and np.std(segment) == pytest.approx(0.05, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [RATE, 24000, 48000])
@pytest.mark.parametrize("seconds", [0.75, 0.8, 3.0])
def test_every_speed_fits_both_ends_of_a_recording(rate: int, seconds: float) -> None:
    settings = AugmentSettings(resample=1.0, resample_most=1.4)
    augmenter = Augmenter(SPEC, SEGMENT, DataSettings(augment=settings))
    source = augmenter.source(Recording(noise(seconds, rate), rate))
    for speed in np.linspace(-1.0, 1.0, 101):
        for place in (0.0, 1.0 - 1e-9):
            assert len(augmenter(source, place, Speed(speed))) == augmenter.span  # type: ignore[arg-type]


def test_levels_span_thirty_decibels_and_never_clip() -> None:
    x = noise(level=0.02)
    levels = [20 * np.log10(np.std(s) / 0.02) for s in altered(x, 60, level=1.0)]
    assert min(levels) < -12 and max(levels) > 12 and max(np.abs(levels)) < 15.3
    assert max(np.abs(s).max() for s in altered(noise(level=0.2), 20, level=1.0)) <= 0.9999
    # What is not raised stays as it is, however loud.
    loud = np.clip(noise(level=0.5), -1.0, 1.0 - PCM16_STEP)
    assert all(np.abs(s).max() <= 0.9995 for s in altered(loud, 4, level=1.0))


def test_tilt_and_equaliser_colour_smoothly() -> None:
    flat = spectrum_db(noise(30.0))[1].mean()
    tilts = []
    for x in altered(noise(30.0), 12, tilt=1.0):
        hz, level = spectrum_db(x)
        tilts.append(np.polyfit(np.log2(hz[5:90]), level[5:90], 1)[0])
    assert min(tilts) < -1 and max(tilts) > 1 and max(np.abs(tilts)) < 3.2
    changes = [spectrum_db(x)[1][2:95] - flat for x in altered(noise(30.0), 12, equaliser=1.0)]
    assert max(np.abs(c).max() for c in changes) > 4 and max(np.abs(c).max() for c in changes) < 26
    assert max(np.abs(np.diff(c)).max() for c in changes[1:]) < 5


def test_a_low_pass_ends_where_mels_show_it() -> None:
    edges = []
    for x in altered(noise(), 24, lowpass=1.0):
        edge, empty = band_edge(x.astype(np.float64), RATE)
        assert empty
        edges.append(edge)
    assert 3000 < min(edges) < 4500 and 6000 < max(edges) < SHOWN + 300


@pytest.mark.parametrize(("edge", "cut"), [(6000.0, False), (8000.0, True), (9500.0, True), (10_900.0, False)])
def test_a_recording_that_ends_where_mels_do_not_show_it_is_cut_to_where_they_do(edge: float, cut: bool) -> None:
    x = lowpassed(noise(), RATE, edge)
    (kept,) = altered(x, 1)
    (segment,) = altered(x, 1, band="shown")
    level, before = spectrum_db(segment)[1], spectrum_db(kept)[1]
    hz = spectrum_db(segment)[0]
    above = (hz > SHOWN + 150) & (hz < edge - 150)
    if above.any():
        assert (level[above].max() < before[above].min() - 30) == cut
    assert np.abs(level - before)[hz < min(SHOWN, edge) - 350].max() < 0.5
    if cut:  # and its mel says so: the last two bands are at the floor of 16 bits
        mel = MelFrontEnd(SPEC)(torch.from_numpy(segment))[:, 4:-4].mean(1)
        assert mel[-2:].max() < mel[-8] - 4


def test_a_recording_that_a_lower_speed_cuts_off_is_treated_alike() -> None:
    for x, rate in ((noise(6.0), RATE), (noise(6.0, 48000), 48000)):
        for segment in altered(x, 24, rate, band="shown", resample=1.0):
            hz, level = spectrum_db(segment)
            top = level[(hz > 0.85 * RATE / 2) & (hz < 0.9 * RATE / 2)].mean()
            full = top > level[(hz > 2000) & (hz < 6000)].mean() - 6
            assert full or level[hz > SHOWN + 200].max() < level[10:50].mean() - 30
            assert full or rate == RATE  # at 48 kHz there is more to hear


def test_noise_lies_as_far_below_the_speech_as_set() -> None:
    quiet = np.zeros(6 * RATE, np.float32)
    quiet[: 3 * RATE] = noise(3.0, level=0.1)  # speech, then a pause that the noise fills
    below = []
    for x in altered(quiet, 40, noise=1.0, noise_db=20.0)[24:]:
        below.append(20 * np.log10(0.1 / np.std(x[-8000:])))
    assert 19 < min(below) < 35 and 45 < max(below) < 62


def test_a_room_decays() -> None:
    clicks = np.zeros(4 * RATE, np.float32)
    clicks[::SEGMENT] = 0.5
    for x in altered(clicks, 8, room=1.0, room_seconds=0.5):
        at = int(np.argmax(np.abs(x)))
        x = np.roll(x, -at)
        parts = [np.square(x[a : a + 2000]).sum() for a in (100, 2500, 5000)]
        direct = np.square(x[:3]).sum() + 1e-9
        assert 10 ** (-24 / 10) < sum(parts) / direct < 1.0
        assert parts[0] > parts[1] > parts[2]


def test_alterations_depend_on_seed_and_step_only(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", speech_like(3.0, 44100), 44100)
    found, data = find_utterances(tmp_path), preset("universal-22k-stage1").train.data
    a, b, c = (SegmentSampler(found, SPEC, SEGMENT, seed, data) for seed in (1, 1, 2))
    b.batch(0, 6)
    whole, again = a.batch(5, 6), b.batch(5, 6, slice(2, 4))
    assert torch.equal(whole.audio[2:4], again.audio) and torch.equal(whole.mel[2:4], again.mel)
    assert not torch.equal(c.batch(5, 6).audio, whole.audio)
    assert not any(torch.equal(x, y) for x, y in itertools.combinations(whole.audio, 2))


@pytest.mark.thorough
@pytest.mark.slow
def test_altered_training_resumes_bit_for_bit(corpus: Path, tmp_path: Path) -> None:
    data = preset("universal-22k-stage1").train.data
    changes = [f"augment.{name}={value}" for name, value in dataclasses.asdict(data.augment).items()]
    settings = [a for s in [*changes, "balance=0.3", "band=shown", "steps=4"] for a in ("--set", s)]
    assert train(corpus, tmp_path / "whole", *settings) == 0
    assert train(corpus, tmp_path / "halves", *settings, "--max-steps", "2") == 0
    assert main(["train", "--corpus", str(corpus), "--out", str(tmp_path / "halves"), "--resume"]) == 0
    a, b = (load_file(tmp_path / run / "checkpoint/model.safetensors") for run in ("whole", "halves"))
    assert all(torch.equal(a[name], b[name]) for name in a)
