"""Training on a GPU: every stage, a run that goes on, adaptation and evaluation."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
import torch
from command import run
from helpers import make_corpus, speech_like
from safetensors.torch import load_file

from flowvocoder.adapt.plan import STAGES
from flowvocoder.data.corpus import find_utterances, split
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")

SMALL = ["batch=2", "segment=4096", "warmup=0", "validate_every=2", "save_every=2", "precision=float32"]
GUIDE = ["postfilter.guide_channels=16", "postfilter.guide_layers=1", "segment=8192", "low_band_iters=40"]
SAMPLES = ["losses.adversarial=0.1", "losses.features=0.2", "discriminator_channels=2", "segment=8192", "repulsion=0.1",
           "block_tones=3"]  # fmt: skip


def train(corpus: Path, out: Path, *more: object, settings: list[str] = SMALL, device: str = "cuda") -> Path:
    chosen = [flag for setting in settings for flag in ("--set", setting)]
    assert run("train", "--corpus", corpus, "--out", out, "--device", device, *chosen, *more) == 0
    return out


def logged(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "toy", 8, 0.8)


@pytest.fixture(scope="module")
def first(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of the first stage."""
    return train(toy, tmp_path_factory.mktemp("cuda") / "first", "--preset", "lapglow-tiny", "--set", "steps=4")


def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(first: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(toy, out, "--preset", "lapglow-tiny", "--set", "steps=4", "--max-steps", 2)
    assert run("train", "--corpus", toy, "--out", out, "--resume", "--device", "cuda") == 0
    whole, parts = (load_file(folder / "state/state.safetensors") for folder in (first, out))
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)
    assert [row["loss"] for row in logged(out)][-1] == pytest.approx(logged(first)[-1]["loss"], abs=1e-4)


def test_the_cpu_goes_on_with_it(first: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(toy, out, "--preset", "lapglow-tiny", "--set", "steps=4", "--max-steps", 2)
    assert run("train", "--corpus", toy, "--out", out, "--resume", "--threads", 1) == 0
    assert math.isfinite(logged(out)[-1]["loss"]) and (out / "best").is_dir()


def test_the_second_stage_with_discriminators(first: Path, toy: Path, tmp_path: Path) -> None:
    start = ("--preset", "lapglow-stage2", "--init-from", first / "checkpoint")
    out = train(toy, tmp_path / "run", *start, "--max-steps", 2, settings=[*SMALL, *SAMPLES, "steps=4"])
    assert run("train", "--corpus", toy, "--out", out, "--resume", "--device", "cuda") == 0
    last = logged(out)[-1]
    names = ("spectral", "pulse", "period", "block_tones", "adversarial", "features", "discriminator")
    assert all(math.isfinite(last[name]) for name in names if name in last) and {"pulse", "adversarial"} <= set(last)
    Vocoder.from_pretrained(out / "checkpoint", "cuda")


def test_the_third_stage(first: Path, toy: Path, tmp_path: Path) -> None:
    start = ("--preset", "lapglow-stage3", "--init-from", first / "checkpoint")
    out = train(toy, tmp_path / "run", *start, settings=[*SMALL, *GUIDE, "steps=2"])
    assert math.isfinite(logged(out)[-1]["guide"])


def test_the_fourth_stage(first: Path, toy: Path, tmp_path: Path) -> None:
    start = ("--preset", "universal-22k-stage4", "--init-from", first / "checkpoint")
    settings = [*SMALL, "segment=6144", "postfilter.refiner_channels=8", "postfilter.refiner_layers=1", "steps=2"]
    out = train(toy, tmp_path / "run", *start, settings=settings)
    last = logged(out)[-1]
    assert math.isfinite(last["spectral"]) and math.isfinite(last["pulse"])


@pytest.mark.parametrize("precision", ["auto", "float16"])
def test_reduced_precision(precision: str, toy: Path, tmp_path: Path) -> None:
    settings = [*SMALL, f"precision={precision}", "steps=2", "augment.level=0.5", "recompute=true"]
    out = train(toy, tmp_path / "run", "--preset", "lapglow-tiny", settings=settings)
    assert math.isfinite(logged(out)[-1]["loss"])


OTHERS = {
    "waveglow-256": ["model.flows=4", "model.channels=8", "model.layers=2"],
    "squeezewave-128-128": ["model.channels=8", "model.layers=2"],
    "waveflow-64": ["model.channels=8", "model.layers=2"],
    "flowavenet": ["model.channels=8", "model.blocks=2", "model.flows=2"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures(name: str, toy: Path, tmp_path: Path) -> None:
    out = train(toy, tmp_path / "run", "--preset", name, settings=[*SMALL, *OTHERS[name], "steps=2"])
    assert math.isfinite(logged(out)[-1]["loss"])


def test_evaluation(first: Path, toy: Path, tmp_path: Path) -> None:
    given = ("--corpus", toy, "--against", "griffinlim", "--limit", 1, "--jobs", 1, "--out", tmp_path / "out")
    assert run("evaluate", first / "checkpoint", *given, "--device", "cuda") == 0
    stored = json.loads((tmp_path / "out" / "results.json").read_text())["utterances"]
    voice, griffin_lim = (row["values"] for row in stored)
    recording = torch.from_numpy(sf.read(split(find_utterances(toy))[1][0].path)[0])
    on_cpu = Vocoder.from_pretrained(first / "checkpoint").score(recording)
    assert voice["nats"] == pytest.approx(float(on_cpu), abs=1e-3)
    assert math.isfinite(voice["mel_l1"]) and griffin_lim["mel_l1"] < 1.0


def test_adaptation(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.adapt.plan.BATCH", 1)
    monkeypatch.setattr("flowvocoder.adapt.plan.VALIDATIONS", 2)
    monkeypatch.setitem(STAGES, "flow", dataclasses.replace(STAGES["flow"], preset="lapglow-tiny"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(4):
        sf.write(folder / f"{number}.wav", speech_like(2.5, 22050, number), 22050)
    assert run("adapt", folder, "--out", tmp_path / "voice", "--minutes", 0.0001, "--licence", "CC0-1.0",
               "--device", "cuda", "--checkpoint", first / "checkpoint") == 0  # fmt: skip
    Vocoder.from_pretrained(tmp_path / "voice" / "voice", "cuda")
