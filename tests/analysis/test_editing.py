"""What is drawn anew is new, all else is bit by bit what it was, and a speed is exact."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

import flowvocoder
from flowvocoder import Vocoder
from flowvocoder.analysis.editing import at_speed, redo
from flowvocoder.cli.main import main

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
def test_a_speed_is_exact_and_1_is_the_recording() -> None:
    vocoder, audio = Vocoder.from_pretrained(), torch.from_numpy(sf.read(EXAMPLE, dtype="float32")[0][:20000])
    assert float((at_speed(vocoder, audio, 1.0) - audio).abs().max()) < 1e-3
    assert [len(at_speed(vocoder, audio, speed)) for speed in (0.8, 1.25)] == [25000, 16000]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either --redo"),
        (["--redo", "0.2-9"], "speech.wav: the span from 0.2 to 9.0 s is not within"),
        (["--redo", "0.200-0.205"], "shorter than two transitions"),
        (["--redo", "0.3-0.2"], "ends before it begins"),
        (["--speed", "9"], "from 0.25 to 4.0, not 9.0"),
        (["--speed", "2", "--redo", "0.1-0.2"], "either --redo"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], said: str, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", str(recording), str(tmp_path / "out.wav"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
