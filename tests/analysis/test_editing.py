"""What is drawn anew is new, all else is bit by bit what it was, and a speed is exact."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

import flowvocoder
from flowvocoder import Vocoder
from flowvocoder.analysis.editing import moved, redo, redone
from flowvocoder.audio.resample import resample
from flowvocoder.cli.main import main
from flowvocoder.evaluation.pitch import track_pitch

EXAMPLE = Path(flowvocoder.__file__).parent / "examples" / "kerstin.flac"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at another rate than the voice's."""
    samples = sf.read(EXAMPLE, dtype="int16")[0][:44100]
    path = tmp_path_factory.mktemp("recording") / "speech.wav"
    sf.write(path, samples, 24000)
    return path


@pytest.mark.slow
def test_all_outside_a_span_stays_bit_by_bit(recording: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    for output, seed in zip(outputs, ("7", "7", "8"), strict=True):
        assert main(["edit", str(recording), str(output), "--redo", "0.60-1.05", "--seed", seed]) == 0
    before, *after = (sf.read(path, dtype="int16")[0] for path in (recording, *outputs))
    first, last = round(0.6 * 24000), round(1.05 * 24000)
    for done in after:
        assert np.array_equal(done[:first], before[:first]) and np.array_equal(done[last:], before[last:])
        assert np.mean(done[first:last] != before[first:last]) > 0.9
        power = [np.square(x[first:last].astype(float)).mean() for x in (before, done)]
        assert 0.4 < power[1] / power[0] < 2.5
    assert np.array_equal(after[0], after[1]) and not np.array_equal(after[0], after[2])


@pytest.mark.slow
def test_a_transition_has_no_step() -> None:
    audio = torch.from_numpy(sf.read(EXAMPLE, dtype="float32")[0][:22050])
    done = redo(Vocoder.from_pretrained(), audio, 0.3, 0.6)
    first, last = round(0.3 * 22050), round(0.6 * 22050)
    for place in (first, last):
        assert float((done - audio)[place - 2 : place + 2].abs().max()) < 0.01 * float(audio.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("moves", [{"pitch": 4.0}, {"pitch": -4.0, "speed": 1.4}, {"speed": 0.7}])
def test_pitch_and_speed_are_as_asked(moves: dict[str, float]) -> None:
    audio, rate = sf.read(EXAMPLE, dtype="float32", frames=50000)
    done = moved(audio, rate, **moves)
    assert len(done) == round(len(audio) / moves.get("speed", 1.0))
    before, after = (track_pitch(x).f0 for x in (audio, done))
    before = before[np.minimum(np.rint(np.arange(len(after)) * moves.get("speed", 1.0)).astype(int), len(before) - 1)]
    both = (before > 0) & (after > 0)
    cents = 1200 * np.log2(after[both] / before[both])
    assert both.mean() > 0.3 and abs(np.median(cents) - 100 * moves.get("pitch", 0.0)) < 10
    assert 0.9 < np.square(done).mean() / np.square(audio).mean() < 1.1


@pytest.mark.slow
def test_formants_stay_with_another_pitch_and_move_by_themselves() -> None:
    rate, time = 16000, np.arange(16000)
    pulses = (time % 160 == 0).astype(np.float32)
    for formant in (700, 1800):  # resonances of 80 Hz
        radius = np.exp(-np.pi * 80 / rate)
        pulses = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / rate), radius**2], pulses)
    voice = (0.5 * pulses / np.abs(pulses).max()).astype(np.float32)
    for moves, expected in (({"pitch": 4.0}, 1800), ({"pitch": -4.0}, 1800), ({"formants": 1.15}, 2070)):
        done = moved(voice, rate, **moves)
        spectrum = np.abs(np.fft.rfft(done[4000:12000] * np.hanning(8000)))
        power = gaussian_filter1d(spectrum**2, 60)  # 2 Hz a bin: wider than the harmonics are apart
        assert abs(2 * (600 + np.argmax(power[600:1300])) - expected) < 110, moves


def test_nothing_asked_changes_nothing() -> None:
    audio = sf.read(EXAMPLE, dtype="float32", frames=20000)[0]
    assert np.array_equal(moved(audio, 22050), audio)
    assert np.abs(moved(audio, 22050, speed=1.0 + 1e-7) - audio).max() < 1e-5


@pytest.mark.slow
def test_a_span_may_end_with_the_recording(tmp_path: Path) -> None:
    speech = resample(
        sf.read(Path(flowvocoder.__file__).parent / "examples" / "kathleen.flac", dtype="float32")[0], 22050, 48000
    )[:48240]
    done = redone(Vocoder.from_pretrained(), speech, 48000, [(0.5, 1.005)])  # to 22050 Hz and back it is a sample short
    assert done.shape == speech.shape and np.array_equal(done[:24000], speech[:24000])
    assert np.mean(done[24000:] != speech[24000:]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "edit needs something to do"),
        (["--redo", "0.2-9"], "speech.wav: the span from 0.2 to 9.0 s is not within"),
        (["--redo", "0.200-0.205"], "shorter than two transitions"),
        (["--redo", "0.3-0.2"], "ends before it begins"),
        (["--speed", "9"], "the speed must be from 0.25 to 4, not 9"),
        (["--pitch", "nan"], "the pitch must be from -12 to 12, not nan"),
        (["--formants", "3"], "the formants must be from 0.5 to 2, not 3"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], said: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", str(recording), str(tmp_path / "out.wav"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
