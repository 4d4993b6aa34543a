"""`adapt`: a voice of a few recordings, in one command that can be stopped and repeated."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers import speech_like

from flowvocoder.adapt.plan import STAGES, check_stages, experiment_of, steps_for
from flowvocoder.adapt.recordings import LONGEST, sentences
from flowvocoder.checkpoint import load_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import PostfilterConfig, SamplingSettings, override
from flowvocoder.errors import ConfigError
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import PRESETS, preset
from flowvocoder.training.updates import Updates
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

pytestmark = pytest.mark.slow

RATE = 22050


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sentences of three seconds in one long recording of another rate, and a short one."""
    pause = np.zeros(16000, np.float32)
    folder = tmp_path_factory.mktemp("recordings") / "mine"
    folder.mkdir()
    parts = [part for i in range(4) for part in (speech_like(3.0, 16000, i), pause)]
    sf.write(folder / "long.wav", np.concatenate(parts), 16000)
    sf.write(folder / "short.flac", speech_like(2.5, 44100, 9), 44100)
    return folder


@contextlib.contextmanager
def little_work() -> Iterator[None]:
    """Small batches, short segments, and few validations, which draw spectrograms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowvocoder.adapt.plan.BATCH", 1)
        patch.setattr("flowvocoder.adapt.plan.VALIDATIONS", 2)
        patch.setitem(STAGES, "flow", dataclasses.replace(STAGES["flow"], preset="lapglow-tiny"))
        yield


@pytest.fixture(scope="module")
def adapted(recordings: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A voice made without a stop, and what was said."""
    out = tmp_path_factory.mktemp("adapted") / "voice"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert adapt(recordings, out, checkpoint, "--licence", "CC0-1.0") == 0
    return out, said.getvalue()


def adapt(recordings: Path, out: Path, checkpoint: Path, *more: str) -> int:
    command = [
        "adapt",
        str(recordings),
        "--out",
        str(out),
        "--checkpoint",
        str(checkpoint),
        "--minutes",
        "0.0001",
    ]  # ten steps, however fast
    with little_work():
        return main([*command, *more])


def test_a_voice_in_one_command_and_again(
    adapted: tuple[Path, str], recordings: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, said = adapted
    before, after = (float(said.split(word)[0].split()[-1]) for word in (" nats a sample before", " after"))
    assert after > before
    assert {"recording.wav", "before.wav", "after.wav", "comparison.png"} <= {path.name for path in out.iterdir()}
    made = Vocoder.from_pretrained(out / "voice")
    assert made.card.licence == "CC0-1.0" and made.card.training_data[-1] == "mine"
    assert made.card.postfilter == Vocoder.from_pretrained(checkpoint).card.postfilter
    heard = {file: sf.read(out / file)[0] for file in ("before.wav", "after.wav")}
    assert np.abs(heard["before.wav"] - heard["after.wav"]).max() > 1e-3
    weights = (out / "voice" / "model.safetensors").read_bytes()
    assert adapt(recordings, out, checkpoint, "--licence", "CC0-1.0") == 0
    assert (out / "voice" / "model.safetensors").read_bytes() == weights
    assert adapt(recordings, out, checkpoint, "--stages", "flow") == 2
    assert "was begun with other stages" in capsys.readouterr().err


def test_the_refiner_can_be_adapted(recordings: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Of a voice that has none: the rest stays as it is."""
    small = override(preset("universal-22k-stage5"), ["refiner_channels=8", "segment=6144"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "universal-22k-stage5", small)
        assert adapt(recordings, tmp_path / "out", checkpoint, "--stages", "refiner") == 0
    made, before = load_checkpoint(tmp_path / "out" / "voice"), load_checkpoint(checkpoint)
    assert made.postfilter is not None and made.postfilter.guide is None and made.postfilter.refiner is not None
    assert made.postfilter.refiner.last.weight.any()
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), before.model.parameters(), strict=True))


@pytest.mark.thorough
def test_it_goes_on_where_it_was_stopped(
    adapted: tuple[Path, str], recordings: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = adapted[0], tmp_path / "stopped"
    apply, calls = Updates.apply, iter(range(1000))

    def interrupted(self: Updates, *arguments: object) -> object:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return apply(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Updates, "apply", interrupted)
        assert adapt(recordings, stopped, checkpoint) == 130
    assert json.loads((stopped / "plan.json").read_text())["steps"] == {"flow": 10}
    assert adapt(recordings, stopped, checkpoint) == 0
    weights = [(folder / "voice" / "model.safetensors").read_bytes() for folder in (whole, stopped)]
    assert weights[0] == weights[1]


def test_sentences_end_at_pauses_and_are_not_long() -> None:
    pause = np.zeros(RATE, np.float32)
    speech = [speech_like(3.0, RATE, seed) for seed in range(5)]
    pieces = list(sentences(np.concatenate([part for one in speech for part in (one, pause)]), RATE))
    assert all(len(piece) <= LONGEST * RATE for piece in pieces)
    assert 14.0 < sum(map(len, pieces)) / RATE < 20.0 and 3 <= len(pieces) <= 5
    endless = np.random.default_rng(0).standard_normal(20 * RATE).astype(np.float32)
    assert np.array_equal(np.concatenate(list(sentences(endless, RATE))), endless)


def test_a_plan_fits_the_time_and_the_speech() -> None:
    assert steps_for("flow", 60 * RATE, 300.0, 0.5) == 600
    assert steps_for("flow", 10 * RATE, 300.0, 0.01) == 101  # sixty times the same ten seconds
    assert steps_for("guide", 60 * RATE, 1.0, 10.0) == 10
    voice = preset("lapglow-tiny")
    for name in STAGES:
        experiment = experiment_of(name, voice, 600)
        assert experiment.model == voice.model and experiment.train.sampling == voice.train.sampling
        assert experiment.train.stage == name and experiment.train.optim.steps == 600
    networks = {name: experiment_of(name, voice, 600).postfilter for name in STAGES}
    assert networks == {"flow": None, "samples": None, "guide": PostfilterConfig(),
                        "refiner": PostfilterConfig(0, refiner_channels=128, refiner_layers=3)}  # fmt: skip
    of_its_own = dataclasses.replace(voice, postfilter=PostfilterConfig(96, 4, 8, 1))
    assert experiment_of("refiner", of_its_own, 600).postfilter == of_its_own.postfilter
    spoken = VoiceCard(temperature=0.5, postfilter=PostfilterSettings(3, 7)).sampling
    known = {name: experiment_of(name, voice, 600, SamplingSettings(**spoken)).train.sampling for name in STAGES}
    assert {name for name, sampling in known.items() if sampling == SamplingSettings(0.5, 3, 7)} == {"refiner"}
    assert check_stages(["samples", "flow"]) == ["flow", "samples"]
    for wrong in (["sound"], []):
        with pytest.raises(ConfigError, match="there are flow, samples, guide, refiner"):
            check_stages(wrong)


def test_refusals(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    little, single, full = tmp_path / "little", tmp_path / "single", tmp_path / "full"
    for folder in (little, single, full):
        folder.mkdir()
    sf.write(little / "a.wav", speech_like(3.0, RATE), RATE)
    sf.write(single / "a.wav", speech_like(6.0, RATE), RATE)
    (full / "letter.txt").write_text("keep me")
    for arguments, said in [
        ((little, tmp_path / "out"), "of speech are too few, 5 s are needed"),
        ((single, tmp_path / "out"), "is one sentence: two are needed"),
        ((little, full), "holds something else"),
        ((tmp_path / "none", tmp_path / "out"), "no such folder"),
        ((little, tmp_path / "out", "--stages", "voice"), "there are flow"),
        ((little, tmp_path / "out", "--minutes", "-1"), "--minutes"),
    ]:
        recordings, out, *more = arguments
        try:
            code = adapt(recordings, out, checkpoint, *more)
        except SystemExit as end:
            code = end.code
        assert code == 2, arguments
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1, printed
    assert [path.name for path in full.iterdir()] == ["letter.txt"] and not (tmp_path / "out").exists()
