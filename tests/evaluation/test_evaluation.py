"""What is measured of a pair: against figures of an independent program, and against what must be so."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import example

from flowvocoder.errors import AudioError
from flowvocoder.evaluation.alignment import find_lag
from flowvocoder.evaluation.griffin_lim import griffin_lim
from flowvocoder.evaluation.measures import names_in
from flowvocoder.evaluation.measures.block_tones import measure_block_tones
from flowvocoder.evaluation.measures.opinion import predicted_opinion
from flowvocoder.evaluation.measures.perceptual import PESQ_RATE, pesq_wb
from flowvocoder.evaluation.measures.pitch import pyin_errors
from flowvocoder.evaluation.measures.spectral import mel_distance
from flowvocoder.evaluation.pair import evaluate_pair, measure_pair
from flowvocoder.evaluation.pitch import JUMP_COST, VOICING_COST, best_path, track_pitch
from flowvocoder.evaluation.signals import RATE, make_pair
from flowvocoder.evaluation.statistics import paired_difference, summarise
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention

EXAMPLES = Path(__file__).parents[2] / "flowvocoder" / "examples"


def reference_pair() -> tuple[np.ndarray, np.ndarray]:
    """A recording and a copy with a wavering pitch, dull highs and noise, on the 16-bit grid."""
    recording = example()
    time = np.arange(len(recording))
    warped = np.interp(time + 30 * np.sin(2 * np.pi * 3.0 * time / RATE), time, recording)
    noise = 1e-3 * np.sin(0.37 * time**2)
    return recording, np.rint(0.7 * (warped + noise) * 32768) / 32768


# `quality.py --lag 0 a.wav b.wav` on `reference_pair` written as 64-bit WAV, 2026-11-22: the tool that the figures in
# docs/results/lab-book.md were measured with.
REFERENCE = {
    "pesq": 2.811, "stoi": 0.98637, "estoi": 0.97448, "mel_l1": 0.41317, "sc": 0.2532, "logmag": 0.92106,
    "mrstft": 1.17426, "mcd_fb": 3.00616, "lsd": 10.34509, "lsd_a": 10.34509, "hf_lsd": 12.25173,
    "band_db": 2.20654, "hf_db": 2.86003, "pause_db": math.nan, "vuv": 1.6, "per_rmse": 0.02191,
    "voiced_ref": 77.6, "f0_cents": 32.2299, "f0_fine": 32.2299, "f0_gross": 0.0, "pulse": 0.1651,
    "pulse_bias": -0.06486, "mcd": 3.97089, "quality": 0.5661,
}  # fmt: skip


@pytest.mark.slow
def test_measures_agree_with_the_tool_they_replace() -> None:
    values = evaluate_pair(*reference_pair(), RATE)
    assert {name: values[name] for name in REFERENCE} == pytest.approx(REFERENCE, rel=1e-3, abs=1e-4, nan_ok=True)
    assert values["level_db"] == pytest.approx(20 * np.log10(0.7), abs=0.2)


@pytest.mark.slow
def test_a_copy_is_perfect() -> None:
    recording = example()
    values = evaluate_pair(recording, 0.5 * recording, RATE)
    assert values["pesq"] > 4.6 and values["stoi"] > 0.999 and values["quality"] > 0.99
    for name in ("mrstft", "mel_l1", "lsd", "mcd", "mcd_fb", "band_db", "f0_cents", "vuv", "pulse"):
        assert values[name] == pytest.approx(0.0, abs=1e-6), name
    assert values["level_db"] == pytest.approx(-6.02, abs=0.01)


@pytest.mark.slow
def test_rate_and_lag_are_undone() -> None:
    recording, copy = (x[:RATE] for x in reference_pair())
    late = np.concatenate([np.zeros(200), copy])
    plain, shifted, wrong = (
        mel_distance(make_pair(recording, x, lag))["mel_l1"] for x, lag in ((copy, 0), (late, 200), (late, 0))
    )
    assert shifted == pytest.approx(plain, rel=1e-6) and wrong > 1.2 * plain
    double = [np.repeat(x, 2) for x in (recording, late)]
    assert evaluate_pair(*double, 2 * RATE, lag=400)["mel_l1"] == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("silent", ["reference", "generated", "both"])
def test_silence_is_measured_as_far_as_it_can_be(silent: str) -> None:
    recording, nothing = example(1.0), np.zeros(RATE)
    pair = (nothing if silent != "generated" else recording, nothing if silent != "reference" else recording)
    measured = measure_pair(*pair, RATE)
    assert math.isnan(measured.values["pesq"]) and any("pesq" in note for note in measured.notes)
    assert math.isnan(measured.values["f0_cents"]) and math.isfinite(measured.values["mel_l1"])


def test_what_is_too_short_is_refused_or_noted() -> None:
    with pytest.raises(AudioError, match=r"1000 samples \(0.045 s\)"):
        evaluate_pair(np.ones(1000), np.ones(3000), RATE)
    with pytest.raises(AudioError, match="0 samples"):
        evaluate_pair(np.ones(5000), np.ones(5000), RATE, lag=9000)
    measured = measure_pair(example()[9000:13000], example()[9000:13000], RATE)
    assert {note.split(":")[0] for note in measured.notes} >= {"pesq", "stoi"}
    assert math.isnan(measured.values["stoi"]) and math.isfinite(measured.values["lsd"])


@pytest.mark.slow
def test_pesq_of_a_long_recording_goes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    recording, copy = reference_pair()
    halves = [pesq_wb(make_pair(recording[part], copy[part]))["pesq"]
              for part in (slice(None, len(copy) // 2), slice(len(copy) // 2, None))]  # fmt: skip
    monkeypatch.setattr("flowvocoder.evaluation.measures.perceptual.PESQ_LONGEST", 2 * PESQ_RATE)
    pair = make_pair(recording, copy)
    assert pesq_wb(pair)["pesq"] == pytest.approx(np.mean(halves), abs=0.05)
    assert not pair.notes


def test_the_pitch_of_a_glide_is_tracked() -> None:
    time = np.arange(RATE) / RATE
    pitch = 120 + 80 * time
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = sum(np.cos(k * phase) / k for k in range(1, 9))
    track = track_pitch(np.concatenate([0.1 * tone, np.zeros(RATE // 2)]))
    inside = slice(10, 190)
    assert track.voiced[inside].all() and not track.voiced[215:].any()
    cents = 1200 * np.log2(track.f0[inside] / np.interp(np.arange(10, 190) * 0.005, time, pitch))
    assert np.abs(cents).max() < 15


def test_best_path_is_the_best_of_all_paths() -> None:
    rng = np.random.default_rng(0)
    f0 = np.array([400.0, 300.0, 210.0, 120.0])
    states, frames = len(f0), 6
    voiced, unvoiced = rng.uniform(-1, 1, (frames, states)), rng.uniform(0, 1, frames)

    def total(path: tuple[int, ...]) -> float:
        value = 0.0
        for frame, state in enumerate(path):
            value += unvoiced[frame] if state == states else voiced[frame, state]
            if frame and (before := path[frame - 1]) != state:
                jump = states not in (before, state)
                value -= 2 * (JUMP_COST * abs(np.log2(f0[before] / f0[state])) if jump else VOICING_COST)
        return value

    everything = np.ndindex(*[states + 1] * frames)
    assert total(tuple(best_path(voiced, unvoiced, f0))) == pytest.approx(max(map(total, everything)))


@pytest.mark.slow
@pytest.mark.slow
def test_dnsmos_hears_noise_and_takes_loud_samples() -> None:
    recording = example()
    noisy = recording + 0.03 * np.random.default_rng(0).standard_normal(len(recording)).astype(np.float32)
    same, worse = (predicted_opinion(make_pair(recording, 5.0 * x)) for x in (recording, noisy))
    assert set(same) == names_in("dnsmos")
    assert same["dnsmos_gap"] == pytest.approx(0.0, abs=0.05) and 2.5 < same["dnsmos"] < 3.6
    assert worse["dnsmos_gap"] > 0.5


@pytest.mark.slow
def test_pyin_finds_the_pitch_of_a_copy_right_and_a_semitone_off() -> None:
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * time) / RATE
    voice, higher = (sum(np.cos(k * x * phase) / k for k in range(1, 9)) for x in (1.0, 2 ** (1 / 12)))
    same, raised = (pyin_errors(make_pair(0.1 * voice, x)) for x in (0.05 * voice, 0.1 * higher))
    assert same["f0_pyin_cents"] < 1.0 and same["vuv_pyin"] == 0.0
    assert raised["f0_pyin_cents"] == pytest.approx(100.0, abs=5.0)
    assert set(raised) == names_in("pyin")


@pytest.mark.parametrize("late", [0, 384, -301])
def test_the_lag_is_found(late: int) -> None:
    recording = example()
    moved = np.concatenate([np.zeros(late), recording]) if late >= 0 else recording[-late:]
    assert find_lag(recording, moved) == late
    # Upside down, so that the waveforms do not agree and the envelopes have to tell.
    assert find_lag(recording, -moved) == pytest.approx(late, abs=16)


@pytest.mark.parametrize("period", [8, 128])
def test_block_tones_are_measured_at_the_level_of_tones_at_multiples_of_the_block_rate(period: int) -> None:
    rng = np.random.default_rng(0)
    noise = 1e-3 * rng.standard_normal(4 * RATE) * (1 + np.sin(np.arange(4 * RATE) / 4000))
    time = np.arange(len(noise))
    clean = measure_block_tones(noise, RATE, period)
    assert abs(clean.mean) < 1.5 and clean.peak < 4
    assert clean.hz == pytest.approx(np.arange(1, period // 2) * RATE / period)
    between = measure_block_tones(noise + 1e-3 * np.sin(2 * np.pi * 2.5 / period * time), RATE, period)
    assert abs(between.mean) < 1.5
    tones = measure_block_tones(noise + 1e-3 * np.sin(2 * np.pi * 2 / period * time), RATE, period)
    assert tones.hz[tones.db.argmax()] == pytest.approx(2 * RATE / period) and tones.peak > 20
    louder = measure_block_tones(noise + 1e-2 * np.sin(2 * np.pi * 2 / period * time), RATE, period)
    assert louder.peak - tones.peak == pytest.approx(20, abs=1)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.ones(100)])
def test_block_tones_of_nothing_are_not_a_number(samples: np.ndarray) -> None:
    assert math.isnan(measure_block_tones(samples, RATE, 128).mean)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tacotron2", "hifigan", "parallelwavegan"])
def test_griffin_lim_gives_back_the_mel(name: str) -> None:
    spec = convention(name)
    audio = torch.from_numpy(example(1.5)).float()[: 128 * spec.hop_length]
    mel = MelFrontEnd(spec)(audio)[:, :128]
    rebuilt = griffin_lim(mel, spec, iterations=12)
    assert len(rebuilt) == len(audio)
    distance = MelFrontEnd(spec)(rebuilt)[:, :128].sub(mel).abs().mean() * (math.log(10) if spec.log == "log10" else 1)
    assert distance < 0.3
    assert abs(find_lag(audio.double().numpy(), rebuilt.double().numpy())) <= 32


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    summary = summarise([*values, math.nan])
    assert summary is not None and summary == summarise(list(values)) and summary.n == 400
    assert summary.mean == pytest.approx(values.mean()) and summary.sd == pytest.approx(values.std(ddof=1))
    assert summary.high - summary.low == pytest.approx(2 * 1.96 * summary.sd / 20, rel=0.1)
    single = summarise([2.0])
    assert single is not None and (single.low, single.mean, single.high, single.sd) == (2.0, 2.0, 2.0, None)
    assert summarise([math.nan]) is None
    # The definition: quantiles of the means of 4000 samples with replacement.
    draws = np.random.default_rng(0).integers(400, size=(4000, 400))
    assert [summary.low, summary.high] == pytest.approx(np.quantile(values[draws].mean(1), [0.025, 0.975]), rel=1e-12)
    difference = paired_difference([1.0, 2.0, math.nan, 9.0], [0.5, 1.5, 7.0, math.nan])
    assert difference is not None and (difference.n, difference.low, difference.high) == (2, 0.5, 0.5)
