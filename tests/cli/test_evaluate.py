"""`evaluate`: whole runs on a toy corpus, taken up again, compared, and refused."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from command import refused, run
from helpers import speech_like

from flowvocoder.checkpoint import Checkpoint, build_model, save_checkpoint
from flowvocoder.config import override
from flowvocoder.data.corpus import find_utterances, split
from flowvocoder.data.manifest import Entry, write_manifest
from flowvocoder.errors import ConfigError
from flowvocoder.evaluation import checkpoint as evaluating
from flowvocoder.evaluation.checkpoint import Settings, distinct_names, evaluate_checkpoint
from flowvocoder.evaluation.measures import MEASURES, names_in
from flowvocoder.evaluation.results import Cache, Row
from flowvocoder.evaluation.tables import differences, markdown
from flowvocoder.mel.files import write_mel
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.presets import preset


@pytest.fixture(scope="module")
def out(corpus: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `evaluate` wrote about the toy checkpoint and Griffin-Lim."""
    out = tmp_path_factory.mktemp("evaluation")
    arguments = ["--corpus", corpus, "--out", out, "--against", "griffinlim", "--keep-audio", "--jobs", 1, "--limit", 1]
    assert run("evaluate", checkpoint, *arguments) == 0
    return out


def results(folder: Path) -> dict[str, dict[str, float]]:
    """Values by system, of the one utterance."""
    stored = json.loads((folder / "results.json").read_text())
    assert len(stored["utterances"]) == len(stored["systems"])
    return {row["system"]: row["values"] for row in stored["utterances"]}


@pytest.mark.slow
def test_every_measure_of_the_held_out_utterance(
    out: Path, corpus: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = results(out)
    assert list(values) == ["toy/checkpoint", "griffinlim"]
    names = set(MEASURES) - names_in("pyin") - names_in("dnsmos")
    assert set(values["toy/checkpoint"]) == names
    assert set(values["griffinlim"]) == names - {"nats", "bits"}
    held_out = split(find_utterances(corpus))[1][0]
    assert (out / f"utterances/toy-checkpoint/{held_out.id}.json").is_file()
    capsys.readouterr()
    assert run("score", "--json", held_out.path, "--checkpoint", checkpoint) == 0
    assert values["toy/checkpoint"]["nats"] == json.loads(capsys.readouterr().out)[0]["nats_per_sample"]
    assert run("resynth", held_out.path, tmp_path / "own.wav", "--checkpoint", checkpoint, "--threads", 1) == 0
    kept = out / f"audio/toy-checkpoint/{held_out.id}.wav"
    own, measured = (sf.read(path, dtype="int16")[0].astype(int) for path in (tmp_path / "own.wav", kept))
    assert np.abs(own - measured).max() <= 1, "what anybody hears with the same seed"
    assert values["griffinlim"]["hf_db"] < -10 < values["toy/checkpoint"]["hf_db"], "only the flow knows of it"
    summary = json.loads((out / "results.json").read_text())["summary"]["toy"]["griffinlim"]["stoi"]
    assert summary["n"] == 1 and summary["mean"] == summary["low"] == values["griffinlim"]["stoi"]


@pytest.mark.slow
def test_table_and_chart(out: Path) -> None:
    table = (out / "table.md").read_text()
    assert "| measure | toy/checkpoint | griffinlim |" in table and "## toy: 1 utterance\n" in table
    assert f"| {results(out)['griffinlim']['pesq']:.2f} |" in table
    assert (out / "chart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_folder_of_the_same_audio_measures_the_same(
    out: Path, corpus: Path, checkpoint: Path, tmp_path: Path
) -> None:
    ours, griffin_lim = results(out).values()
    other = tmp_path / "late"
    shutil.copytree(out / "audio" / "griffinlim" / "toy", other)  # without the corpus' name
    for file in other.iterdir():
        samples, rate = sf.read(file)
        sf.write(file, np.concatenate([np.zeros(500), samples]), rate)
    against = [str(out / "audio" / "toy-checkpoint"), str(other)]
    fixed = evaluate_checkpoint(checkpoint, [corpus], Settings(against=against, limit=1, lag=0))
    assert fixed.systems == ["toy/checkpoint", "toy-checkpoint", "late"]
    mine, copied, late = (row.to_dict()["values"] for row in fixed.rows)
    makers = {"nats", "bits", "x_realtime"}
    assert copied == pytest.approx({k: v for k, v in mine.items() if k not in makers})
    assert copied == pytest.approx({k: v for k, v in ours.items() if k not in makers})
    assert late["mel_l1"] > 1.5 * griffin_lim["mel_l1"]
    found = evaluate_checkpoint(checkpoint, [corpus], Settings(against=against, limit=1))
    assert abs(found.settings["lags"]["late"] - 500) <= 32
    assert found.rows[2].values["mel_l1"] < 1.2 * griffin_lim["mel_l1"]


@pytest.mark.slow
def test_a_second_run_measures_only_what_is_new(
    out: Path, corpus: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    measured: list[str] = []
    plain = evaluating.measure

    def counting(task: evaluating.Task) -> object:
        measured.append(task.system.name)
        return plain(task)

    monkeypatch.setattr(evaluating, "measure", counting)
    settings = Settings(against=["griffinlim"], limit=1)
    first = evaluate_checkpoint(checkpoint, [corpus], settings, copy)
    assert measured == [] and [row.to_dict()["values"] for row in first.rows] == list(results(copy).values())
    file = next((copy / "utterances" / "griffinlim").rglob("*.json"))
    file.write_text(file.read_text()[:100])  # killed while it wrote, on a file system that renames late
    evaluate_checkpoint(checkpoint, [corpus], settings, copy)
    assert measured == ["griffinlim"]
    colder = evaluate_checkpoint(checkpoint, [corpus], dataclasses.replace(settings, temperature=0.3), copy)
    assert measured == ["griffinlim", "toy/checkpoint"]
    assert colder.rows[0].values["mel_l1"] != first.rows[0].values["mel_l1"]


@pytest.mark.thorough
@pytest.mark.slow
def test_two_processes_measure_the_same_as_one(corpus: Path, checkpoint: Path) -> None:
    settings = Settings(everything=True, limit=2)
    alone = evaluate_checkpoint(checkpoint, [corpus], settings)
    together = evaluate_checkpoint(checkpoint, [corpus], Settings(everything=True, limit=2, jobs=2))
    assert [r.utterance for r in alone.rows] == [r.utterance for r in together.rows] and len(alone.rows) == 2
    for a, b in zip(alone.rows, together.rows, strict=True):
        speed = {"x_realtime": 0.0}
        assert {**a.values, **speed} == pytest.approx({**b.values, **speed}, nan_ok=True, rel=1e-9)


@pytest.mark.slow
def test_several_draws_are_averaged_and_kept(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    singles = [evaluate_checkpoint(checkpoint, [corpus], Settings(limit=1, seed=seed)).rows[0] for seed in (3, 4)]
    settings = Settings(limit=1, seed=3, draws=2, against=["griffinlim"], keep_audio=True)
    both = evaluate_checkpoint(checkpoint, [corpus], settings, tmp_path)
    row = both.rows[0]
    for name in ("nats", "mel_l1", "pulse", "pesq"):
        alone = [single.values[name] for single in singles]
        assert [draw[name] for draw in row.draws] == pytest.approx(alone)
        assert row.values[name] == pytest.approx(sum(alone) / 2) and alone[0] != alone[1]
    assert both.by_draw("toy", both.systems[0], "mel_l1") == pytest.approx([s.values["mel_l1"] for s in singles])
    assert len(both.rows[1].draws) == 2 and both.rows[1].draws[0] != both.rows[1].draws[1], "Griffin-Lim draws phases"
    assert len(list((tmp_path / "audio" / "toy-checkpoint").rglob("*.wav"))) == 1
    again = evaluate_checkpoint(checkpoint, [corpus], dataclasses.replace(settings, jobs=2), tmp_path)
    assert [r.draws for r in again.rows] == [r.draws for r in both.rows], "kept"
    table = markdown(both)
    assert "mean of 2 draws, seeds 3 to 4" in table and "| toy/checkpoint, each draw |" in table
    assert f"| {singles[0].values['mel_l1']:.3f}, {singles[1].values['mel_l1']:.3f} |" in table


def test_a_mean_over_draws_leaves_out_what_is_not_defined() -> None:
    row = Row("c/u", "s", [{"pesq": math.nan, "stoi": 0.5}, {"pesq": 2.0, "stoi": 1.0}, {"pesq": math.nan}], [])
    assert row.values == {"pesq": 2.0, "stoi": 0.75}
    assert json.loads(json.dumps(row.to_dict()))["draws"][0] == {"pesq": None, "stoi": 0.5}


@pytest.mark.slow
def test_another_checkpoint_and_a_difference(corpus: Path, checkpoint: Path, run_copy: Path) -> None:
    evaluation = evaluate_checkpoint(checkpoint, [corpus], Settings(against=[str(run_copy)], limit=1))
    assert evaluation.systems == ["toy/checkpoint", "other/checkpoint"]
    difference = evaluation.difference("toy", "other/checkpoint", "nats")
    assert difference is not None and difference.mean == 0.0


@pytest.fixture
def run_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint under another run's name."""
    return shutil.copytree(checkpoint, tmp_path / "other" / "checkpoint")


@pytest.mark.slow
def test_silence_and_what_cannot_be_read_do_not_stop_the_others(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "mixed"
    corpus.mkdir()
    sf.write(corpus / "good.wav", speech_like(0.7, 22050), 22050)
    sf.write(corpus / "silent.wav", np.zeros(20000), 22050)
    sf.write(corpus / "short.wav", np.zeros(700), 22050)
    (corpus / "broken.wav").write_text("no audio")
    assert run("evaluate", checkpoint, "--corpus", corpus, "--all", "--jobs", 1, "--out", tmp_path / "o") == 2
    captured = capsys.readouterr()
    assert [line.split(": ")[2] for line in captured.err.splitlines() if "mixed/" in line] == [
        "mixed/broken",
        "mixed/short",
    ]
    assert "Traceback" not in captured.err and "pesq: silence" in captured.out
    stored = json.loads((tmp_path / "o" / "results.json").read_text())
    assert {row["utterance"]: row["values"]["pesq"] is None for row in stored["utterances"]} == {
        "mixed/good": False,
        "mixed/silent": True,
    }
    assert stored["summary"]["mixed"]["toy/checkpoint"]["pesq"]["n"] == 1


@pytest.mark.slow
def test_a_missing_file_of_a_folder_is_named(
    corpus: Path, checkpoint: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    utterances = find_utterances(corpus)[:2]
    sf.write(half / f"{utterances[1].path.stem}.flac", speech_like(0.8, 22050), 22050)
    capsys.readouterr()
    assert run("evaluate", checkpoint, "--corpus", corpus, "--all", "--limit", 2, "--jobs", 1, "--against", half) == 2
    captured = capsys.readouterr()
    assert f"no recording {utterances[0].path.stem}.* for utterance {utterances[0].id}" in captured.err
    assert ", n = 1 |" in captured.out


@pytest.mark.slow
def test_half_a_file_is_no_copy(out: Path, corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    stored = out / "audio" / "griffinlim" / "toy"
    for file in stored.rglob("*.wav"):
        samples, rate = sf.read(file)
        (tmp_path / "half").mkdir(exist_ok=True)
        sf.write(tmp_path / "half" / file.name, samples[: len(samples) // 2], rate)
    evaluation = evaluate_checkpoint(checkpoint, [corpus], Settings(against=[str(tmp_path / "half")], limit=1))
    assert [row.system for row in evaluation.rows] == ["toy/checkpoint"]
    (failure,) = evaluation.failures
    assert "its audio is 0.40 s long, the recording 0.80 s" in failure


@pytest.mark.slow
def test_refusals(corpus: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = ("evaluate", checkpoint, "--corpus", corpus)
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refused(capsys, *evaluate, "--against", tmp_path / "nowhere")
    assert "holds none of the utterances" in refused(capsys, *evaluate, "--against", tmp_path / "empty")
    assert "griffinlim is named twice" in refused(capsys, *evaluate, *["--against", "griffinlim"] * 2)
    assert "must be 1 or above" in refused(capsys, *evaluate, "--limit", 0)
    assert "--temperature" in refused(capsys, *evaluate, "--temperature", "nan")
    assert "--gl-iters must be from 0 to 64, not 65" in refused(capsys, *evaluate, "--gl-iters", 65)
    assert "--low-band-iters must be from 0 to 1024, not -1" in refused(capsys, *evaluate, "--low-band-iters", -1)
    assert "a latency of 20 ms is too short" in refused(capsys, *evaluate, "--latency", 20)
    assert "two corpora are named" in refused(capsys, *evaluate, "--corpus", corpus)
    assert "--keep-audio needs --out" in refused(capsys, *evaluate, "--keep-audio")
    assert "every process measures on one thread" in refused(capsys, *evaluate, "--threads", 2)
    assert "no such checkpoint" in refused(capsys, "evaluate", tmp_path / "none", "--corpus", corpus)
    (tmp_path / "file").touch()
    assert "is a file" in refused(capsys, *evaluate, "--out", tmp_path / "file")


def test_a_missing_library_is_named_with_its_extra(
    corpus: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyworld", None)
    with pytest.raises(ConfigError, match=r"pyworld.*pip install 'flowvocoder\[evaluate\]'"):
        evaluate_checkpoint(checkpoint, [corpus])


@pytest.mark.slow
def test_one_file_cannot_stand_for_two_utterances(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sf.write(tmp_path / name / "one.wav", speech_like(0.5, 22050), 22050)
    (tmp_path / "flat").mkdir()
    shutil.copy(tmp_path / "a" / "one.wav", tmp_path / "flat" / "one.wav")
    settings = Settings(against=[str(tmp_path / "flat")], everything=True)
    with pytest.raises(ConfigError, match="both a/one and b/one"):
        evaluate_checkpoint(checkpoint, [tmp_path / "a", tmp_path / "b"], settings)


@pytest.mark.slow
def test_a_model_of_another_rate_is_measured_at_the_common_one(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    experiment = override(preset("lapglow-tiny"), ["mel=vocos"])
    save_checkpoint(tmp_path / "fresh", Checkpoint(build_model(experiment), experiment))
    evaluation = evaluate_checkpoint(
        tmp_path / "fresh", [corpus], Settings(against=["griffinlim", str(checkpoint)], limit=1)
    )
    assert evaluation.settings["sample_rate"] == 24000
    ours, griffin_lim, other = (row.values for row in evaluation.rows)
    assert griffin_lim["stoi"] > 0.7 and griffin_lim["mel_l1"] < 0.6 and np.isfinite(ours["block_tones_db"])
    # Nats for each of 24 000 samples a second less nats for each of 22 050 would say nothing.
    name = evaluation.systems[2]
    assert np.isfinite(ours["nats"] - other["nats"]) and evaluation.difference("toy", name, "nats") is None
    assert evaluation.difference("toy", name, "mel_l1") is not None
    assert "likelihood" not in "".join(differences(evaluation, "toy"))


@pytest.mark.slow
def test_manifests_with_stretches_odd_ids_and_given_mels(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    audio = find_utterances(corpus)[0].path
    spec = convention("tacotron2")
    stretch = torch.from_numpy(sf.read(audio, dtype="float32")[0][1000:16000])
    mel = MelFrontEnd(spec)(stretch)[:, : len(stretch) // spec.hop_length]  # a frame less than a synthesis has
    write_mel(tmp_path / "given.npy", mel.numpy(), spec)
    write_mel(tmp_path / "other.npy", mel.numpy() - 2.0, spec)
    common = {"path": str(audio), "start": 1000, "duration": 15000, "rate": 22050, "speaker": "s", "language": "en",
              "sha256": "0" * 64, "split": "validation"}  # fmt: skip
    names = {"../own": None, "given": "given.npy", "other": "other.npy"}
    write_manifest(tmp_path / "tts.jsonl", (Entry(id=id, mel=mel, **common) for id, mel in names.items()))
    evaluation = evaluate_checkpoint(checkpoint, [tmp_path / "tts.jsonl"], Settings(), tmp_path / "out" / "deep")
    own, given, other = (row.values for row in evaluation.rows)
    assert evaluation.groups == ["tts"] and evaluation.rows[0].utterance == "tts/../own"
    assert given["nats"] == pytest.approx(own["nats"], abs=0.2) and other["nats"] < own["nats"] - 0.5
    written = [path for path in tmp_path.rglob("*.json") if path.name.startswith("own")]
    assert written == [tmp_path / "out/deep/utterances/toy-checkpoint/tts/_/own.json"]


def test_names_tell_checkpoints_apart() -> None:
    assert distinct_names([Path("/x/voices/base")]) == ["base"]
    assert distinct_names([Path("/x/run1/checkpoint"), Path("/x/run2/checkpoint")]) == [
        "run1/checkpoint",
        "run2/checkpoint",
    ]
    assert distinct_names([Path("/x/run1/best")]) == ["run1/best"]


def test_a_cache_without_a_folder_keeps_nothing() -> None:
    assert Cache(None).get("a/b", "system", "key") is None
