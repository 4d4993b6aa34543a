"""The command line: every form does what it says, and bad input is one line, exit code 2, nothing written."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from command import Fork, refused, run
from conftest import TINY
from helpers import speech_like

from flowvocoder import batches
from flowvocoder.audio.files import Samples
from flowvocoder.checkpoint import build_postfilter, load_checkpoint, save_checkpoint
from flowvocoder.config import PostfilterConfig, override
from flowvocoder.mel.files import Mel
from flowvocoder.mel.spec import convention
from flowvocoder.presets import preset
from flowvocoder.streaming.engines import fastest_engine
from flowvocoder.vocoder import Vocoder


@pytest.mark.slow
def test_mel_then_synth(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    mel, out = tmp_path / "m.npy", tmp_path / "o.wav"
    assert run("mel", wav, mel, "--checkpoint", checkpoint) == 0
    assert run("synth", mel, out, "--checkpoint", checkpoint, "--seed", 3, "--temperature", 0.7) == 0
    audio, rate = sf.read(out)
    assert rate == 22050 and len(audio) == np.load(mel).shape[1] * 256 and sf.info(out).subtype == "PCM_16"
    first = out.read_bytes()
    assert run("synth", mel, out, "--checkpoint", checkpoint, "--seed", 3, "--temperature", 0.7) == 0
    assert out.read_bytes() == first
    assert run("synth", mel, out, "--checkpoint", checkpoint, "--seed", 4, "--temperature", 0.7) == 0
    assert out.read_bytes() != first


def test_mel_in_a_named_convention(wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mel", wav, tmp_path / "m.npy", "--convention", "vocos") == 0
    assert np.load(tmp_path / "m.npy").shape[0] == 100
    assert "resampled from 22050 to 24000 Hz" in capsys.readouterr().err
    assert json.loads((tmp_path / "m.npy.json").read_text()) == convention("vocos").to_dict()


@pytest.mark.slow
def test_synth_of_a_folder_skips_what_is_done(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mels, out = tmp_path / "mels", tmp_path / "out"
    for index in range(3):
        sf.write(tmp_path / f"{index}.wav", speech_like(0.5, 22050, index), 22050)
        assert run("mel", tmp_path / f"{index}.wav", mels / "sub" / f"{index}.npy", "--checkpoint", checkpoint) == 0
    assert run("synth", mels, out, "--checkpoint", checkpoint) == 0
    assert sorted(p.name for p in (out / "sub").iterdir()) == ["0.wav", "1.wav", "2.wav"]
    (out / "sub/1.wav").unlink()
    before = (out / "sub/0.wav").stat().st_mtime_ns
    capsys.readouterr()
    assert run("synth", mels, out, "--checkpoint", checkpoint) == 0
    assert "2 of 3 are there already" in capsys.readouterr().err
    assert (out / "sub/1.wav").exists() and (out / "sub/0.wav").stat().st_mtime_ns == before
    assert run("synth", mels, out, "--checkpoint", checkpoint, "--force") == 0
    assert (out / "sub/0.wav").stat().st_mtime_ns != before
    assert run("synth", mels / "sub" / "*.npy", tmp_path / "globbed", "--checkpoint", checkpoint) == 0
    assert len(list((tmp_path / "globbed").iterdir())) == 3


@pytest.mark.slow
def test_synth_of_a_folder_goes_on_past_a_bad_mel(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mels = tmp_path / "mels"
    sf.write(tmp_path / "a.wav", speech_like(0.5, 22050), 22050)
    assert run("mel", tmp_path / "a.wav", mels / "b.npy", "--checkpoint", checkpoint) == 0
    (mels / "a.npy").write_text("rubbish")
    capsys.readouterr()
    assert run("synth", mels, tmp_path / "out", "--checkpoint", checkpoint) == 2
    assert "a.npy" in capsys.readouterr().err and (tmp_path / "out/b.wav").exists()


@pytest.mark.slow
def test_resynth_keeps_the_length_and_draws(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "o.wav", tmp_path / "p.png"
    assert run("resynth", wav, out, "--checkpoint", checkpoint, "--plot", plot) == 0
    assert sf.info(out).frames == sf.info(wav).frames
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_resynth_resamples_and_says_so(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stereo = np.stack([speech_like(1.0, 8000, 0), speech_like(1.0, 8000, 1)], 1)
    sf.write(tmp_path / "in.wav", stereo, 8000)
    assert run("resynth", tmp_path / "in.wav", tmp_path / "o.wav", "--checkpoint", checkpoint) == 0
    err = capsys.readouterr().err
    assert "2 channels averaged to mono" in err and "resampled from 8000 to 22050 Hz" in err
    assert sf.info(tmp_path / "o.wav").frames == 22050


@pytest.mark.slow
def test_encode_then_decode_gives_the_recording_back(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    latent, out = tmp_path / "z.npz", tmp_path / "o.wav"
    assert run("encode", wav, latent, "--checkpoint", checkpoint) == 0
    assert run("decode", latent, out, "--checkpoint", checkpoint) == 0
    original, back = sf.read(wav, dtype="int16")[0], sf.read(out, dtype="int16")[0]
    assert len(original) == len(back) and np.abs(original.astype(int) - back).max() <= 2  # 1e-4 is 3 steps


@pytest.mark.slow
def test_score(wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = tmp_path / "noisy.wav"
    audio, _ = sf.read(wav)
    sf.write(noisy, audio + 0.05 * np.random.default_rng(0).standard_normal(len(audio)), 22050)
    capsys.readouterr()
    assert run("score", "--json", wav, noisy, "--checkpoint", checkpoint) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [set(r) for r in rows] == [{"file", "nats_per_sample", "bits_per_sample"}] * 2
    assert rows[0]["file"] == str(wav)
    for row in rows:
        assert row["bits_per_sample"] == pytest.approx((np.log(32768) - row["nats_per_sample"]) / np.log(2))
    assert run("score", wav, noisy, "--checkpoint", checkpoint) == 0
    assert "mean of 2 files" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_in_batches_is_what_its_mels_are_alone(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, which `cpu:0` stands for. Files that are no mels, or broken, cost the others nothing."""
    sizes, real = [], batches.together

    def counted(voice: Vocoder, mels: Sequence[Mel], *more: Any, **given: Any) -> list[Samples]:
        sizes.append(len(mels))
        return real(voice, mels, *more, **given)

    monkeypatch.setattr(batches, "together", counted)
    mels, out, options = tmp_path / "mels", tmp_path / "out", ("--checkpoint", checkpoint, "--trust-mel", "--seed", 4)
    mels.mkdir()
    rng = np.random.default_rng(0)
    for name, frames in {"c": 40, "a": 12, "b": 25, "d": 25}.items():
        np.save(mels / f"{name}.npy", rng.normal(-5.0, 1.0, (80, frames)).astype(np.float32))
    assert run("synth", mels, out, "--device", "cpu:0", *options) == 0
    assert sizes == [4]
    for mel in mels.iterdir():
        assert run("synth", mel, tmp_path / "alone.wav", *options) == 0
        together, alone = sf.read(out / f"{mel.stem}.wav")[0], sf.read(tmp_path / "alone.wav")[0]
        assert len(together) == len(alone) and np.abs(together - alone).max() < 1e-3 < np.abs(alone).max()
    (out / "d.wav").unlink()
    np.save(mels / "e.npy", np.full((80, 9), np.nan, np.float32))
    np.save(mels / "f.npy", rng.normal(-5.0, 1.0, (81, 9)).astype(np.float32))
    capsys.readouterr()
    assert run("synth", mels, out, "--device", "cpu:0", *options) == 2
    said = capsys.readouterr()
    assert "1 written" in said.out and "2 refused" in said.out and "81 bands" in said.err and "NaN" in said.err


def test_info(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", checkpoint) == 0
    text = capsys.readouterr().out
    assert "tacotron2" in text and "CC0-1.0" in text and "M parameters" in text
    engine, why = fastest_engine(torch.device("cpu"))
    assert f"auto is {engine} here: {why}" in text
    assert run("info", checkpoint, "--json") == 0
    assert json.loads(capsys.readouterr().out)["format_version"] == 2


def test_info_names_the_networks_that_are_there(
    small_voice: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(path: Path) -> dict[str, str]:
        assert run("info", path) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        return {line.split()[0]: line.split("  ", 2)[-1].strip() for line in lines}

    both, none = rows(small_voice), rows(checkpoint)
    assert both["guide"] == "guide_channels 16, guide_layers 1"
    assert both["refiner"] == "refiner_channels 8, refiner_layers 1"
    assert not {"guide", "refiner"} & none.keys() and "sizes" in none
    copied = tmp_path / "refined"
    voice = load_checkpoint(small_voice)
    sizes = dataclasses.replace(voice.experiment, postfilter=PostfilterConfig(0, refiner_channels=8, refiner_layers=1))
    save_checkpoint(copied, dataclasses.replace(voice, experiment=sizes, postfilter=build_postfilter(sizes)))
    assert {"guide", "refiner"} & rows(copied).keys() == {"refiner"}
    assert run("info", copied, "--json") == 0
    assert json.loads(capsys.readouterr().out)["postfilter"]["guide_channels"] == 0


@pytest.mark.slow
def test_voices_are_listed_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("voices", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["default"] for row in rows].count(True) == 1 and rows[0]["default"]
    assert all(row["bytes"] <= 25e6 and row["licence"] != "unknown" and row["speakers"] for row in rows)
    assert run("voices") == 0
    shown = capsys.readouterr().out
    for row in rows:
        assert row["name"] in shown and f"{row['mel']}, {row['sample_rate']} Hz" in shown
        assert run("info", row["name"], "--json") == 0
        assert json.loads(capsys.readouterr().out)["card"]["name"] == row["name"]
        assert run("info", f"./{row['name']}") == 2  # a folder of that name, which is not there
    assert rows[0]["name"] in refused(capsys, "info", "universal-99k")


def test_clipping_is_counted_and_never_wraps(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flowvocoder.cli.common import write_speech

    write_speech(tmp_path / "o.wav", [np.array([0.0, 1.0, 1.5, -1.0, -1.2], dtype=np.float32)], 22050)
    assert "3 of 5 samples clipped" in capsys.readouterr().err
    assert sf.read(tmp_path / "o.wav", dtype="int16")[0].tolist() == [0, 32767, 32767, -32768, -32768]


BAD_AUDIO = {
    "missing": (lambda p: None, "no such file"),
    "empty": (lambda p: p.write_bytes(b""), r"is empty (0 bytes)"),
    "text": (lambda p: p.write_text("hello, I am text\n" * 50), "cannot be read as audio"),
    "nan": (lambda p: sf.write(p, np.full(9000, np.nan, np.float32), 22050, subtype="FLOAT"), "9000 of 9000 samples"),
    "integers": (lambda p: sf.write(p, 20000 * speech_like(1.0, 22050), 22050, subtype="FLOAT"), "samples reach 6000"),
    "short": (lambda p: sf.write(p, np.zeros(220), 22050), "220 samples (0.010 s) are too few, 513 (0.023 s) needed"),
    "no samples": (lambda p: sf.write(p, np.zeros(0), 22050), "0 samples"),
}  # fmt: skip


def test_score_goes_on_past_a_bad_file(wav: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", "--json", wav.parent / "none.wav", wav, "--checkpoint", checkpoint) == 2
    captured = capsys.readouterr()
    assert "none.wav: no such file" in captured.err and json.loads(captured.out)[0]["file"] == str(wav)
    assert run("score", "--json", wav.parent / "none.wav", "--checkpoint", checkpoint) == 2
    assert json.loads(capsys.readouterr().out) == []


def test_score_is_of_the_16_bit_recording(wav: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio, _ = sf.read(wav, dtype="float32")
    sf.write(wav.parent / "off.wav", audio + 0.3 / 32768, 22050, subtype="FLOAT")
    assert run("score", "--json", wav, wav.parent / "off.wav", "--checkpoint", checkpoint) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["nats_per_sample"] == pytest.approx(rows[1]["nats_per_sample"], abs=1e-4)


def test_samples_that_are_not_finite_are_not_written(
    wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.wav"
    line = refused(capsys, "resynth", wav, out, "--checkpoint", checkpoint, "--temperature", 1e38)
    assert "not finite" in line and not out.exists()


@pytest.mark.slow
def test_failed_mel_leaves_the_old_one(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.npy"
    assert run("mel", wav, out, "--checkpoint", checkpoint) == 0
    before = out.read_bytes()
    done = Fork("mel", wav, out, "--checkpoint", checkpoint, file_limit=10_000).wait()
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert out.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"in.wav", "m.npy", "m.npy.json"}


def test_output_through_a_link_goes_where_it_points(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "real.wav").write_bytes(b"")
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    assert run("resynth", wav, tmp_path / "link.wav", "--checkpoint", checkpoint) == 0
    assert (tmp_path / "link.wav").is_symlink() and sf.info(tmp_path / "real.wav").frames > 0


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
@pytest.mark.parametrize(("command", "suffix"), [("resynth", ".wav"), ("mel", ".npy"), ("encode", ".npz")])
def test_an_output_never_replaces_the_recording(
    command: str, suffix: str, link: str | None, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = wav.rename(tmp_path / f"a{suffix}")
    out, before = tmp_path / f"{'b' if link else 'a'}{suffix}", recording.read_bytes()
    if link:
        getattr(out, link)(recording)
    assert f"{out}: is the input itself" in refused(capsys, command, recording, out)
    assert recording.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {recording.name, out.name}


@pytest.mark.slow
def test_an_output_never_replaces_a_mel_or_a_latent(
    wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mels, latent = tmp_path / "mels", tmp_path / "z.npz"
    assert run("mel", wav, mels / "m.npy", "--checkpoint", checkpoint) == 0
    assert run("encode", wav, latent, "--checkpoint", checkpoint) == 0
    (tmp_path / "z.wav").symlink_to(latent)
    (mels / "m.wav").symlink_to("m.npy")
    (tmp_path / "p.png").symlink_to(wav)
    kept = {p: p.read_bytes() for p in (wav, mels / "m.npy", latent)}
    for arguments, refusal in (
        (("decode", latent, tmp_path / "z.wav"), "z.wav"),
        (("synth", mels / "m.npy", mels / "m.wav"), "m.wav"),
        (("synth", mels, mels, "--force"), "m.wav"),
        (("resynth", wav, tmp_path / "o.wav", "--plot", tmp_path / "p.png"), "p.png"),
    ):
        line = refused(capsys, *arguments, "--checkpoint", checkpoint)
        assert f"{refusal}: is the input itself: name another file" in line
    assert {p: p.read_bytes() for p in kept} == kept and not (tmp_path / "o.wav").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "read", "written"),
    [("resynth", ".flac", ".wav"), ("resynth", ".wav", ".wav"), ("mel", ".wav", ".npy"), ("encode", ".wav", ".npz"),
     ("decode", ".npz", ".wav")],
)  # fmt: skip
def test_folders_files_and_globs_go_to_a_folder(
    command: str, read: str, written: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"
    (source / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        recording = source / f"{name}.wav"
        sf.write(recording.with_suffix(read if command != "decode" else ".wav"), speech_like(0.3, 22050), 22050)
        if command == "decode":
            assert run("encode", recording, recording.with_suffix(".npz"), "--checkpoint", checkpoint) == 0
    (source / f"bad{read}").write_text("rubbish")
    (source / f".hidden{read}").write_text("rubbish")
    capsys.readouterr()
    assert run(command, source, out, "--checkpoint", checkpoint) == 2
    said = capsys.readouterr()
    assert f"bad{read}" in said.err and f"2 written to {out}, 1 refused" in said.out
    results = sorted(p.relative_to(out).as_posix() for p in out.rglob(f"*{written}"))
    assert results == [f"a{written}", f"deep/b{written}"]
    before = {name: (out / name).stat().st_mtime_ns for name in results}
    assert run(command, source, out, "--checkpoint", checkpoint) == 2  # not its own outputs, which lie below the input
    assert "2 of 3 are there already" in capsys.readouterr().err
    assert {name: (out / name).stat().st_mtime_ns for name in results} == before
    assert run(command, source / f"a{read}", source / f"deep/*{read}", tmp_path / "b", "--checkpoint", checkpoint) == 0
    assert {p.suffix: p.stem for p in (tmp_path / "b").iterdir()}[written] in "ab"
    assert (tmp_path / f"b/b{written}").exists()


def test_a_folder_of_recordings_is_not_mixed_with_what_is_made_of_them(
    wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name another folder" in refused(capsys, "resynth", tmp_path, tmp_path, "--checkpoint", checkpoint)
    assert "--plot is of one recording" in refused(
        capsys, "resynth", tmp_path, tmp_path / "out", "--plot", tmp_path / "p.png", "--checkpoint", checkpoint
    )
    assert "is the only path" in refused(capsys, "resynth", wav)
    assert f"{tmp_path}: a folder or several" in refused(capsys, "mel", tmp_path, tmp_path / "m.npy")
    (tmp_path / "empty").mkdir()
    for command in (["mel", tmp_path / "empty", tmp_path / "out"], ["score", tmp_path / "empty"]):
        assert "empty: no .wav, .flac" in refused(capsys, *command)
    (tmp_path / "empty").rmdir()
    assert list(tmp_path.iterdir()) == [wav]


def test_score_of_a_folder(wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep").mkdir()
    sf.write(tmp_path / "deep/b.flac", speech_like(0.3, 22050), 22050)
    assert run("score", tmp_path, "--checkpoint", checkpoint) == 0
    said = capsys.readouterr().out
    assert str(wav) in said and "b.flac" in said and "mean of 2 files" in said


@pytest.mark.slow
def test_a_folder_of_mels_may_hold_pipes(checkpoint: Path, wav: Path, tmp_path: Path) -> None:
    mels = tmp_path / "mels"
    assert run("mel", wav, mels / "m.npy", "--checkpoint", checkpoint) == 0
    os.mkfifo(mels / "pipe.npy")
    for place in (mels, mels / "*.npy"):
        assert run("synth", place, tmp_path / "out", "--force", "--checkpoint", checkpoint) == 0
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["m.wav"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--seed", "1.5"],
        ["--seed", str(2**64)],
        ["--device", "meta"],
        ["--threads", "3000000000"],
        ["--gl-iters", "65"],
        ["--low-band-iters", "1025"],
    ],
)
def test_bad_numbers_are_refused_in_one_line(
    arguments: list[str], wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert arguments[0] in refused(capsys, "resynth", wav, tmp_path / "o.wav", *arguments)


@pytest.mark.slow
def test_a_full_gpu_is_one_line(
    wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")

    monkeypatch.setattr(Vocoder, "synthesize", full)
    line = refused(capsys, "resynth", wav, tmp_path / "o.wav")
    assert line.strip().endswith("the device has not enough memory (CUDA out of memory. Tried to allocate 2.00 GiB.)")


@pytest.mark.slow
def test_what_the_system_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "too long" in refused(capsys, "score", tmp_path / ("x" * 300 + ".wav"))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flowvocoder", "corpus", "list"], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and "No space left" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a\x1b[31m\n\rb.wav", "\u202eb.wav", "\udcffb.wav", "x" * 200 + "\a.wav"])
def test_a_message_is_one_line_whatever_the_file_is_called(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("score", tmp_path / name), ("mel", tmp_path / name, tmp_path / "o.npy"), ("info", name)):
        line = refused(capsys, *arguments)
        assert line.isprintable() and len(line) < 500 and name[-4:] in line
    assert "\n" not in refused(capsys, "nothing", name).rstrip("\n")
    line = refused(capsys, "score", "y" * 9000)
    assert len(line) < 500 and line.endswith("too long")


def test_an_output_whose_name_is_no_text(wav: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("mel", wav, tmp_path / "\udcff.npy", "--convention", "hifigan") == 0
    assert (tmp_path / "\udcff.npy").exists()
    assert "\\udcff.npy: 80 bands" in capfd.readouterr().out


@pytest.mark.slow
def test_recordings_of_hours_are_refused_by_their_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "long.flac"
    with sf.SoundFile(path, "w", 1000, 1) as file:
        file.write(np.zeros(1000 * 601, np.int16))
    assert "is 601 s long, at most 600 s" in refused(capsys, "score", path)
    with sf.SoundFile(path, "w", 1000, 1) as file:
        file.write(np.zeros(1000 * 1501, np.int16))
    assert "is 1501 s long, at most 1500 s" in refused(capsys, "resynth", path, tmp_path / "o.wav")


@pytest.mark.slow
def test_no_memory_is_one_line(
    wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Vocoder, "synthesize", lambda *_, **__: torch.empty(2**60))
    assert "not enough memory" in refused(capsys, "resynth", wav, tmp_path / "o.wav")


@pytest.mark.parametrize("command", ["mel", "resynth", "encode", "score"])
@pytest.mark.parametrize("case", BAD_AUDIO)
def test_bad_audio_is_refused(
    command: str, case: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD_AUDIO[case]
    path = tmp_path / "bad.wav"
    make(path)
    out = tmp_path / f"out{ {'mel': '.npy', 'resynth': '.wav', 'encode': '.npz'}.get(command, '') }"
    outputs = [] if command == "score" else [out]
    line = refused(capsys, command, path, *outputs, "--checkpoint", checkpoint)
    assert str(path) in line and message in line
    assert {p.name for p in tmp_path.iterdir()} <= {"bad.wav"}, "something was written"


@pytest.mark.slow
def test_a_latent_file_of_version_0_1_is_read(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    latent, old, out = tmp_path / "z.npz", tmp_path / "old.npz", tmp_path / "o.wav"
    assert run("encode", wav, latent, "--checkpoint", checkpoint) == 0
    with np.load(latent) as archive:
        np.savez(old, **{"noise" if name == "latent" else name: archive[name] for name in archive.files})
    assert run("decode", latent, tmp_path / "new.wav", "--checkpoint", checkpoint) == 0
    assert run("decode", old, out, "--checkpoint", checkpoint) == 0
    assert out.read_bytes() == (tmp_path / "new.wav").read_bytes()


@pytest.mark.slow
def test_bad_latents_are_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "z.npz", tmp_path / "o.wav"
    assert "no such file" in refused(capsys, "decode", path, out, "--checkpoint", checkpoint)
    path.write_text("x")
    assert "not a latent file" in refused(capsys, "decode", path, out, "--checkpoint", checkpoint)
    np.savez(path, a=np.zeros(3))
    assert "no latent, mel, samples, mel_spec" in refused(capsys, "decode", path, out, "--checkpoint", checkpoint)
    spec = np.array(json.dumps(convention("tacotron2").to_dict()))
    np.savez(path, latent=np.zeros((128, 6)), mel=np.zeros((80, 4)), samples=np.int64(900), mel_spec=spec)
    assert "does not fit" in refused(capsys, "decode", path, out, "--checkpoint", checkpoint)
    good = {"latent": np.zeros((128, 8)), "mel": np.zeros((80, 4)), "samples": np.int64(900), "mel_spec": spec}
    for change, message in (
        ({"mel_spec": np.array("{garbage")}, "mel_spec is not the spec"),
        ({"mel_spec": np.zeros(3)}, "mel_spec.npy: holds float64, expected an array of text"),
        ({"mel_spec": np.array("[" * 100_000)}, "mel_spec is not the spec"),
        ({"samples": np.int64(10**9)}, "samples is 1000000000, expected 1 to 1024"),
        ({"samples": np.array([3, 4])}, "samples is [3 4]"),
        ({"latent": np.array(["a"])}, "latent.npy: holds <U1, expected an array of floating-point numbers"),
        ({"latent": np.zeros((), "V200000")}, "latent.npy: holds |V200000, expected"),
        ({"latent": np.float32(0)}, "latent and mel have shapes () and (80, 4)"),
        ({"latent": np.full((128, 8), np.nan)}, "latent holds values"),
    ):
        np.savez(path, **{**good, **change})
        assert message in refused(capsys, "decode", path, out, "--checkpoint", checkpoint)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "lapglow-huge"], "unknown preset 'lapglow-huge': there are"),
        (["--preset", "lapglow-tny"], "unknown preset 'lapglow-tny': did you mean lapglow-tiny?"),
        (["--set", "lerning_rate=1"], "unknown key 'lerning_rate': did you mean lr?"),
        (["--set", "qqqqqqqq=1"], "unknown key 'qqqqqqqq': the nearest are "),
        (["--set", "steps=" + "[" * 5000], "steps: expected int like"),
        (["--set", "model.chanels=3"], "did you mean model.channels?"),
        (["--set", "lr=fast"], "expected float"),
        (["--set", "lr"], "expected key=value"),
        (["--set", "steps=1.5"], "expected int"),
        (["--set", "optimizer.lr=1"], "unknown key 'optimizer.lr': did you mean optim.lr?"),
        (["--set", "model.band_groups=6"], "band_groups 6 must be a power of 2"),
        (["--set", "model.band_groups=8", "--set", "model.block=32"], "8 times as many go into model.block 32"),
        (["--set", "model.block=100"], "block 100 must go into mel.hop_length 256: one of 16, 32, 64, 128, 256"),
        (["--set", "mel.sample_rate=8000", "--set", "mel.fmax=4000"], "too low for the pitch predictor"),
        (["--set", "lr=Infinity"], "train.optim.lr must be from"),
        (["--set", "lag=NaN"], "train.losses.lag must be from"),
        (["--set", "seed=-1"], "train.run.seed must be from"),
        (["--set", "model.subband_merging=0"], "model.subband_merging must be from"),
        (["--set", "mel=melgan"], "unknown mel convention 'melgan'"),
        (["--set", "mel.fmax=20000"], "fmax"),
        (["--set", "segment=100"], "segment 100"),
        (["--set", "batch=0"], "train.optim.batch must be from 1"),
        (["--device", "cuda:7"], "--device cuda:7"),
        (["--threads", "0"], "--threads"),
        (["--out", ""], "argument --out: must name a folder, not ''"),
    ],
)
def test_bad_training_settings_are_refused(
    arguments: list[str], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "train", "--corpus", corpus, "--out", tmp_path / "run", *arguments)
    assert message in line and not (tmp_path / "run").exists()


def test_bad_corpora_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert "no such folder" in refused(capsys, "train", "--corpus", tmp_path / "x", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "no audio files" in refused(capsys, "train", "--corpus", tmp_path / "empty", "--out", out)
    sf.write(tmp_path / "empty/a.wav", np.zeros(5000), 22050)
    assert "16384 samples (0.74 s)" in refused(capsys, "train", "--corpus", tmp_path / "empty", "--out", out)
    assert not out.exists()


@pytest.mark.slow
def test_outputs_that_cannot_be_written(
    wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    blocked = tmp_path / "file" / "o.wav"
    assert f"{blocked}: cannot be written" in refused(capsys, "resynth", wav, blocked, "--checkpoint", checkpoint)
    assert "must end in .wav" in refused(capsys, "resynth", wav, tmp_path / "o.mp4", "--checkpoint", checkpoint)
    assert "must end in .npy" in refused(capsys, "mel", wav, tmp_path / "o.wav", "--checkpoint", checkpoint)
    line = refused(capsys, "train", "--corpus", wav.parent, "--out", tmp_path / "file" / "run", *TINY)
    assert f"{tmp_path / 'file'} is a file, not a folder" in line
    assert {p.name for p in tmp_path.iterdir()} == {"file", "in.wav"}


@pytest.mark.slow
def test_full_disk(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A file-size limit stands in for the full disk: the same OSError in the same place."""
    out = tmp_path / "out" / "o.wav"
    done = Fork("resynth", wav, out, "--checkpoint", checkpoint, file_limit=20_000).wait()
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and f"{out}: cannot be written" in done.stderr.decode()
    assert list(out.parent.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.slow
def test_full_disk_in_training_leaves_no_half_checkpoint(corpus: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    command = ["train", "--corpus", corpus, "--out", run_folder, *TINY, "--set", "steps=2"]
    done = Fork(*command, file_limit=50_000).wait()
    assert done.returncode == 2, done.stderr
    assert b"cannot be written" in done.stderr and b"Traceback" not in done.stderr
    assert not [p for p in run_folder.rglob("*") if p.suffix == ".safetensors"]


def test_unknown_command_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sing") == 2
    assert "invalid choice" in capsys.readouterr().err
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("mel", "synth", "resynth", "encode", "decode", "score", "info", "train"))


def test_bad_temperature(wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("-1", "nan", "inf"):
        line = refused(capsys, "resynth", wav, tmp_path / "o.wav", "--checkpoint", checkpoint, f"--temperature={value}")
        assert "--temperature must be 0 or above" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["mel", "none.wav", "none.npy", "--checkpoint", "VOICE"],
        ["score", "none.wav", "--checkpoint", "VOICE"],
        ["resynth", "none.wav", "o.wav", "--checkpoint", "VOICE"],
        ["evaluate", "--corpus", "none"],
        ["train", "--corpus", "none", "--out", "run"],
        ["demo", "--checkpoint", "none"],
        ["serve", "--checkpoint", "none"],
    ],
    ids=lambda command: command[0],
)
def test_one_thread_unless_requested(
    command: list[str],
    small_voice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a busy machine a team of threads waits for its slowest member thousands of times a second."""
    command = [str(small_voice) if word == "VOICE" else word for word in command]
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    try:
        for options, threads in (([], 1), (["--threads", "3"], 3)):
            if threads == 1 or command[0] != "evaluate":  # which refuses more
                torch.set_num_threads(2)
                assert "none" in refused(capsys, *command, *options)
                with ThreadPoolExecutor(1) as pool:  # the demo's requests run in threads
                    assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == threads
    finally:
        torch.set_num_threads(before)


def test_a_number_needs_no_zero_before_its_point() -> None:
    assert override(preset("lapglow-tiny"), ["lr=.25"]).train.optim.lr == 0.25
