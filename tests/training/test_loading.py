"""Batches made ahead of time are those that would be made when they are wanted."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import make_corpus, make_manifest

from flowvocoder.checkpoint import build_model, load_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import AugmentSettings, DataSettings, OptimSettings, TrainConfig
from flowvocoder.data.corpus import open_corpus
from flowvocoder.data.segments import Sampler
from flowvocoder.data.streaming import open_sampler
from flowvocoder.errors import DataError
from flowvocoder.mel.spec import MelSpec
from flowvocoder.presets import preset
from flowvocoder.training import loading
from flowvocoder.training.batch import prepare
from flowvocoder.training.distributed import DistributedContext
from flowvocoder.training.loading import Loader, usable_workers
from flowvocoder.units import PCM16_STEP

SPEC = MelSpec()
ALTERED = DataSettings(augment=AugmentSettings(level=1.0, lowpass=0.5, room=0.3))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder, and the same as shards."""
    root = make_corpus(tmp_path_factory.mktemp("loading") / "toy", 6, 0.5)
    shards = root.parent / "shards"
    assert main(["prepare", str(make_manifest(root)), str(shards), "--jobs", "1", "--shard-size", "2"]) == 0
    return {"folder": root, "shards": shards}


def sampler(path: Path, data: DataSettings = ALTERED) -> Sampler:
    return open_sampler([open_corpus(path)], SPEC, 4096, 3, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_workers_make_the_batches_of_their_steps(kind: str, corpora: dict[str, Path]) -> None:
    one_of_two = DistributedContext(1, 2, torch.device("cpu"))
    ahead = Loader(sampler(corpora[kind]), 6, one_of_two, workers=2)
    plain = sampler(corpora[kind])
    try:
        for step in (4, 5, 6, 7, 8, 2, 3):  # a run that continues, and one that goes back
            made, expected = ahead.batch(step), plain.batch(step, 6, slice(3, 6))
            assert made.ids == expected.ids
            assert torch.equal(made.audio, expected.audio) and torch.equal(made.mel, expected.mel)
    finally:
        ahead.close()


def test_a_shard_that_is_damaged_is_named(corpora: dict[str, Path], tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(corpora["shards"], shards)
    found = open_sampler([open_corpus(shards)], SPEC, 4096, 0, ALTERED)
    loader = Loader(found, 1, DistributedContext(0, 1, torch.device("cpu")), workers=2)
    found.buffer = 1  # type: ignore[attr-defined]  # so that the first batch reads one shard alone
    loader.batch(0)
    for tar in shards.glob("train-*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    try:
        with pytest.raises(
            DataError, match=r"^\S+\.tar: was altered: its SHA-256 is not the one that index.json states$"
        ):
            for step in range(1, 40):
                loader.batch(step)
    finally:
        loader.close()


def test_workers_are_as_many_as_cores_and_shared_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(cores: int, room: int) -> None:
        monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(loading.shutil, "disk_usage", lambda _: SimpleNamespace(free=room))
        monkeypatch.setattr(loading, "_SHARED", Path(__file__).parent)

    batch = 36_000_000
    for cores, room, processes, expected in (
        (16, 2**36, 1, 15), (64, 2**36, 1, 16), (16, 2**36, 4, 3), (2, 2**36, 1, 0), (16, 2**26, 1, 0),
        (16, 600_000_000, 1, 4),
    ):  # fmt: skip
        machine(cores, room)
        assert usable_workers(batch, processes) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 2])
def test_cuda_gets_the_batches_of_the_cpu(workers: int, corpora: dict[str, Path]) -> None:
    device = torch.device("cuda")
    loader = Loader(sampler(corpora["folder"]), 4, DistributedContext(0, 1, device), workers=workers)
    plain = sampler(corpora["folder"])
    train = TrainConfig(optim=OptimSettings(batch=4))
    model = build_model(preset("lapglow-tiny")).to(device)
    try:
        for step in range(5):
            made, expected = loader.batch(step), plain.batch(step, 4)
            assert made.ids == expected.ids and torch.equal(made.audio.cpu(), expected.audio)
            assert torch.allclose(made.mel.cpu(), expected.mel, atol=1e-3)
            batch = prepare(made, model, train, step, slice(0, 4), device)
            noise = (batch.dequantised - batch.audio) / PCM16_STEP
            assert noise.is_cuda and noise.abs().max() < 0.51 and abs(noise.std() - 12**-0.5) < 0.01
    finally:
        loader.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_trains_and_the_cpu_reads_what_it_saved(corpora: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["--preset", "lapglow-tiny", "--set", "batch=4", "--set", "segment=4096", "--set", "augment.level=0.5"]
    assert main(["train", "--corpus", str(corpora["shards"]), "--out", str(run), "--device", "cuda", *arguments,
                 "--max-steps", "3"]) == 0  # fmt: skip
    load_checkpoint(run / "checkpoint")
