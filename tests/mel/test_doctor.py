"""`mel doctor` and `mel convert`: what a program did to a mel is found, and undone."""

import json
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile as sf
import torch

from flowvocoder.cli.main import main
from flowvocoder.errors import MelError
from flowvocoder.mel.statistics import read_statistics

RECORDING = Path(__file__).parents[2] / "flowvocoder" / "examples" / "kathleen.flac"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mels")
    for name in ("tacotron2", "hifigan", "parallelwavegan"):
        assert main(["mel", str(RECORDING), str(folder / f"{name}.npy"), "--convention", name]) == 0
    return folder


def by_band(mel: np.ndarray) -> np.ndarray:
    return (mel - mel.mean(1, keepdims=True)) / mel.std(1, keepdims=True)


Change = Callable[[np.ndarray], np.ndarray]
CASES: dict[str, tuple[str, Change, str, list[str]]] = {
    "as it is": ("hifigan", lambda mel: mel, "ln", []),
    "frames half a hop away": ("tacotron2", lambda mel: mel, "ln", []),
    "log10 of ln": ("hifigan", lambda mel: mel / np.log(10.0), "log10", ["--numbers", "log10"]),
    "ln of log10": ("parallelwavegan", lambda mel: mel * np.log(10.0), "ln", ["--numbers", "ln"]),
    "decibels": ("tacotron2", lambda mel: mel * 20 / np.log(10.0), "decibels", ["--numbers", "decibels"]),
    "magnitudes, turned": ("hifigan", lambda mel: np.exp(mel).T, "magnitudes, not", ["--numbers", "magnitudes"]),
    "one frame less": ("tacotron2", lambda mel: mel[:, 1:], "ln", []),
    "scaled": ("hifigan", lambda mel: (mel + 11.5) / 13, "scaled: ln of the mel = 13 x value -11.5", ["--stats"]),
    "normalised by band": ("parallelwavegan", by_band, "normalised band by band", ["--stats"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_was_done_is_found_and_undone(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, change, numbers, options = CASES[case]
    mel = np.load(folder / f"{name}.npy")
    np.save(tmp_path / "a.npy", change(mel))
    stats = tmp_path / "stats.json"
    command = ["mel", "doctor", str(tmp_path / "a.npy"), "--reference", str(RECORDING)]
    assert main([*command, "--save", str(stats), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["fits"][0]
    assert best["name"] == name and best["numbers"].startswith(numbers)
    assert best["by_band"] < 0.001
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"exactly {name}; {numbers}" in said and "run: flowvocoder" in said and all(o in said for o in options)
    convert = ["mel", "convert", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--convention", name, *options]
    assert main([*convert, str(stats)] if options == ["--stats"] else convert) == 0
    assert (
        np.abs(np.load(tmp_path / "b.npy") - change(mel) if not options else np.load(tmp_path / "b.npy") - mel).max()
        < 1e-4
    )
    assert json.loads((tmp_path / "b.npy.json").read_text())["padding"] in ("same", "center")


def recorded_mel(power: float) -> np.ndarray:
    """As librosa makes it of the recording, with the settings of `tacotron2` mels."""
    librosa = pytest.importorskip("librosa")
    samples, rate = sf.read(RECORDING, dtype="float32")
    settings = {"n_fft": 1024, "hop_length": 256, "n_mels": 80, "fmax": 8000.0, "pad_mode": "reflect"}
    mel: np.ndarray = librosa.feature.melspectrogram(y=samples, sr=rate, power=power, **settings)
    return mel


POWERS: dict[str, Change] = {
    "powers": lambda powers: powers,
    "power-decibels": lambda powers: 10.0 * np.log10(np.maximum(powers, 1e-12)),
}


@pytest.mark.slow
@pytest.mark.parametrize("numbers", POWERS)
def test_a_mel_of_powers_is_found_and_undone(
    numbers: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, made = str(tmp_path / "a.npy"), tmp_path / "b.npy"
    np.save(given, POWERS[numbers](recorded_mel(2.0)))
    assert main(["mel", "doctor", given, "--reference", str(RECORDING)]) == 0
    assert f"--convention tacotron2 --numbers {numbers}" in capsys.readouterr().out
    assert main(["mel", "convert", given, str(made), "--convention", "tacotron2", "--numbers", numbers]) == 0
    true = np.load(folder / "tacotron2.npy")
    loud = true > true.min() + 2.0
    assert np.abs(np.load(made) - true)[loud].mean() < 0.1
    assert (
        np.abs(0.5 * np.log(np.maximum(recorded_mel(2.0), 1e-12)) - true)[loud].mean() > 1.0
    )  # with no regard to bands


def test_what_is_printed_to_run_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a mel that only another voice takes, of one that is turned, and of one that is none."""

    def commands(mel: np.ndarray) -> tuple[list[str], str]:
        np.save(tmp_path / "a.npy", mel)
        assert main(["mel", "doctor", str(tmp_path / "a.npy"), "--reference", str(RECORDING)]) == 0
        said = capsys.readouterr().out
        return [line.removeprefix("run: flowvocoder ") for line in said.splitlines() if line.startswith("run:")], said

    assert main(["mel", str(RECORDING), str(tmp_path / "v.npy"), "--convention", "vocos"]) == 0
    (synth,), _ = commands(np.load(tmp_path / "v.npy"))
    assert synth.endswith("OUT.wav --checkpoint universal-24k")
    (convert, synth), said = commands(np.load(folder / "tacotron2.npy").T)
    assert "transposed" in said and convert.startswith("mel convert") and synth == "synth OUT.npy OUT.wav"
    found, said = commands(np.random.default_rng(0).normal(-5.0, 2.0, (80, 344)))
    assert not found and "none of these" in said


def test_a_toolkits_numbers_are_known(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    magnitudes = np.exp(np.load(folder / "tacotron2.npy"))
    np.save(tmp_path / "nemo.npy", np.log(magnitudes + 1e-5))
    assert main(["mel", "doctor", str(tmp_path / "nemo.npy"), "--reference", str(RECORDING)]) == 0
    assert "synth --convention nemo" in capsys.readouterr().out
    assert main(["mel", "doctor", str(tmp_path / "nemo.npy")]) == 0
    assert "nemo: plausible" in capsys.readouterr().out
    np.save(tmp_path / "large.npy", 1e4 * magnitudes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy would say so on standard error
        assert main(["mel", "doctor", str(tmp_path / "large.npy")]) == 0


def test_what_cannot_be_right_is_not_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else `synth` would trust the definition beside it."""
    mel, out = str(folder / "hifigan.npy"), tmp_path / "out.npy"
    wrong = ["mel", "convert", mel, str(out), "--convention", "hifigan", "--numbers", "decibels"]
    assert main(wrong) == 2 and not out.exists()
    assert "varies less than any recording" in capsys.readouterr().err
    assert main([*wrong, "--trust-mel"]) == 0 and out.exists()


def test_without_a_recording(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mel", "doctor", str(folder / "hifigan.npy"), "--json"]) == 0
    plausible = json.loads(capsys.readouterr().out)["plausible"]
    assert plausible["hifigan"] is None and "ln, not log10" in plausible["parallelwavegan"]


def statistics_files(folder: Path) -> dict[str, Path]:
    mean, scale = np.linspace(-7.0, -3.0, 80), np.linspace(0.5, 2.0, 80)
    np.save(folder / "a.npy", np.stack([mean, scale]))
    np.savez(folder / "b.npz", mean=mean, std=scale)
    np.savez(folder / "c.npz", count=50, sum=50 * mean, sum_square=50 * (scale**2 + mean**2))
    (folder / "d.json").write_text(json.dumps({"mel_mean": mean.tolist(), "mel_std": scale.tolist()}))
    with h5py.File(folder / "e.h5", "w") as file:
        file["mean"], file["scale"] = mean, scale
    return {path.name: path for path in sorted(folder.iterdir())}


def test_statistics_in_the_forms_that_programs_keep(tmp_path: Path) -> None:
    files = statistics_files(tmp_path)
    assert len(files) == 5
    for path in files.values():
        statistics = read_statistics(path)
        assert np.allclose(statistics.undo(np.ones((80, 3)))[:, 1], np.linspace(-6.5, -1.0, 80)), path
    (tmp_path / "one.json").write_text('{"mean": -5.5, "std": 2.1}')
    assert np.allclose(read_statistics(tmp_path / "one.json").undo(np.ones((7, 3))), -3.4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "expected mean and scale"),
        ('{"mean": [1, 2], "std": [1]}', "2 means do not fit 1 scales"),
        ('{"mean": [1, 2], "std": [1, 0]}', "a scale is not above 0"),
        ('{"mean": "low", "std": 1}', "no list of numbers"),
        ('{"average": 3}', "found nothing"),
        ('{"mean": 1', "not statistics"),
    ],
)
def test_statistics_that_are_none(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(MelError, match=said):
        read_statistics(tmp_path / "a.json")


def test_refusals(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "flat.npy", np.zeros(80))
    np.save(tmp_path / "short.npy", np.load(folder / "hifigan.npy")[:, :200])
    np.save(tmp_path / "odd.npy", np.zeros((77, 5)))
    np.save(tmp_path / "nan.npy", np.where(np.arange(400).reshape(80, 5) == 7, np.nan, -5.0))
    (tmp_path / "s.json").write_text('{"mean": [1, 2], "std": [1, 1]}')
    (tmp_path / "wav.npy").write_bytes(b"RIFF" + bytes(40))
    torch.save({"mels": torch.zeros(80, 3), "ids": torch.zeros(1)}, tmp_path / "keys.pt")
    mel, out = str(folder / "hifigan.npy"), str(tmp_path / "out.npy")
    for arguments, said in [
        (["doctor", str(tmp_path / "flat.npy")], "has shape (80,), expected (bands, frames)"),
        (["doctor", str(tmp_path / "none.npy")], "no such file"),
        (["doctor", str(tmp_path / "short.npy"), "--reference", str(RECORDING)], "has 80 bands and 200 frames"),
        (["doctor", str(tmp_path / "nan.npy")], "1 of 400 values are NaN or infinite"),
        (["convert", str(tmp_path / "nan.npy"), out, "--convention", "hifigan"], "1 of 400 values are NaN"),
        (["doctor", str(tmp_path / "wav.npy")], "is a recording, not a mel: `flowvocoder mel`"),
        (["doctor", str(tmp_path / "keys.pt")], "its keys are mels, ids"),
        (["doctor", mel, "--save", "a.json"], "needs --reference"),
        (["convert", str(tmp_path / "odd.npy"), out, "--convention", "hifigan"], "has shape (77, 5), a hifigan mel"),
        (["convert", mel, out, "--convention", "hifigan", "--numbers", "magnitudes"], "cannot be below 0"),
        (["convert", mel, out, "--convention", "hifigan", "--stats", str(tmp_path / "s.json")], "2 bands do not fit"),
        (["convert", mel, out, "--convention", "nobody"], "unknown mel convention"),
    ]:  # fmt: skip
        assert main(["mel", *arguments]) == 2, arguments
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1, printed
        assert not Path(out).exists()


@pytest.mark.slow
def test_a_reference_is_read_once_so_it_may_be_a_pipe(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, rate = sf.read(RECORDING)
    sf.write(tmp_path / "both.wav", np.stack([samples, samples], 1), rate)
    os.mkfifo(tmp_path / "pipe")
    feed = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "both.wav").read_bytes()))
    feed.start()
    assert main(["mel", "doctor", str(folder / "tacotron2.npy"), "--reference", str(tmp_path / "pipe"), "--json"]) == 0
    feed.join()
    said = capsys.readouterr()
    assert json.loads(said.out)["fits"][0]["name"] == "tacotron2"
    assert said.err.count("averaged to mono") == 1
