"""Shared fixtures: a corpus and a checkpoint small enough to make in seconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side; threads would only get in each other's way
# As flowvocoder.cluster says it; Ray reads it once, and tests may import Ray before the package does.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from bijection import perturb
from demo_fixtures import Server, assert_nothing_is_left, running
from filelock import FileLock
from helpers import make_corpus, speech_like
from order import arranged

from flowvocoder.audio.plots import draw_pair
from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter, save_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import PostfilterConfig, override
from flowvocoder.parallel import usable_cores
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import preset
from flowvocoder.threads import set_threads
from flowvocoder.training import logs
from flowvocoder.voice_card import BUNDLED_VOICE, VoiceCard

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="more repeats, longer runs: what `make thorough` tries")


@pytest.hookimpl(trylast=True)  # after a pretended GPU is there
def pytest_configure() -> None:
    """A first gradient: PyTorch then decides whether it needs threads, after which forks cannot learn.

    Once something was traced for export, it would find a GPU that is not there.
    """
    torch.ones(1, requires_grad=True).backward()


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Repeat what chance has a part in as often as a release deserves."""
    return bool(pytestconfig.option.thorough)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of a file whose tests are all slow, the quick tests do not even wait for the imports."""
    quick = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return (quick and "\npytestmark = pytest.mark.slow" in collection_path.read_text(encoding="utf-8")) or None


def served(item: pytest.Item) -> bool:
    """Whether a test visits the demo that all share."""
    return "demo" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of the served demo waits for a server and, mostly, a browser. What is left out needs `--thorough`."""
    parts: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        if served(item):
            item.add_marker(pytest.mark.slow)
        parts[config.option.thorough or item.get_closest_marker("thorough") is None].append(item)
    items[:] = arranged(parts[True], served)
    if parts[False]:
        config.hook.pytest_deselected(items=parts[False])


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests also wait, for servers, browsers and what they started."""
    return usable_cores() + 1


TINY = ["--preset", "lapglow-tiny", "--set", "batch=2", "--set", "segment=4096"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A test of --threads leaves the next ones with one thread: two on a busy machine take ten times as long."""
    yield
    set_threads(1)


@pytest.fixture(scope="session", autouse=True)
def small_pictures() -> Iterator[None]:
    """The spectrograms that training draws for TensorBoard take longer than all else in a short run: `run` has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "draw_pair", lambda *_: np.zeros((2, 2, 3), np.uint8))
        yield


Once = Callable[[str, Callable[[Path], object]], Path]
"""Gives the folder of a name, which the first of all processes of a run fills; the others wait, and none changes it."""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    several = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp().parent if several else tmp_path_factory.getbasetemp()

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = base / name, base / f"{name}.filled"
        with FileLock(base / f"{name}.lock"):
            if not filled.exists():
                folder.mkdir()  # not twice: who fails where another failed says so
                fill(folder)
                filled.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def corpus(once: Once) -> Path:
    """Forty synthetic utterances in LJSpeech layout, one or more of them held out."""
    return once("data", lambda folder: make_corpus(folder / "toy", utterances=40, seconds=0.8)) / "toy"


@pytest.fixture(scope="session")
def run(corpus: Path, once: Once) -> Path:
    """A finished training run."""

    def fill(folder: Path) -> None:
        patch.setattr(logs, "draw_pair", draw_pair)
        assert train(corpus, folder / "toy", "--set", "steps=12", "--set", "validate_every=6", "--set", "save_every=6",
                     "--licence", "CC0-1.0") == 0  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        return once("run", fill) / "toy"


@pytest.fixture(scope="session")
def checkpoint(run: Path) -> Path:
    """Its checkpoint."""
    return run / "checkpoint"


SMALL = ["model.pitch_excitation=true", "model.causal=true", "model.block=256", "model.encoder_ahead=1"]
SMALL_CARD = VoiceCard(temperature=0.7, postfilter=PostfilterSettings(gl_iters=1, low_band_iters=24))


@pytest.fixture(scope="session")
def small_voice(once: Once) -> Path:
    """The checkpoint of a voice that was not trained and has every kind of part: ready in a moment."""

    def fill(folder: Path) -> None:
        torch.manual_seed(0)
        experiment = dataclasses.replace(
            override(preset("lapglow-tiny"), SMALL), postfilter=PostfilterConfig(16, 1, 8, 1)
        )
        model, postfilter = build_model(experiment), build_postfilter(experiment)
        assert postfilter is not None
        perturb(model, 0.03)
        perturb(postfilter, 0.03)
        save_checkpoint(folder / "small", Checkpoint(model, experiment, SMALL_CARD, postfilter))

    return once("small_voice", fill) / "small"


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A recording of 1.2 s at 22 050 Hz."""
    path = tmp_path / "in.wav"
    sf.write(path, speech_like(1.2, 22050), 22050, subtype="PCM_16")
    return path


@pytest.fixture
def samples() -> np.ndarray:
    """The samples of a recording of 1.2 s."""
    return speech_like(1.2, 22050)


@pytest.fixture(scope="session")
def demo(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The web demo, served by a program of its own with a checkpoint that is quick, and the bundled voice beside it.

    Whatever was asked of it: at its end it leaves nothing behind, and has spoken to no other machine.
    """
    if importlib.util.find_spec("gradio") is None:  # to import it takes seconds
        pytest.skip("no gradio")
    voices = ["--checkpoint", str(checkpoint), "--checkpoint", str(BUNDLED_VOICE), "--threads", "1"]
    with running(tmp_path_factory.mktemp("demo"), *voices) as server:
        yield server
    assert_nothing_is_left(server)


def train(corpus: Path, out: Path, *more: str) -> int:
    return main(["train", "--corpus", str(corpus), "--out", str(out), *TINY, *more])


@pytest.fixture(scope="session")
def exported_voice(once: Once) -> tuple[Path, Path]:
    """A checkpoint and the folder that `export` makes of it, with whole.onnx and stream.onnx beside the folder.

    As small as a voice with a refiner can be, and traced once, since that takes seconds a layer.
    """
    pytest.importorskip("onnxscript")
    folder = once("exported_voice", export_all)
    return folder / "checkpoint", folder / "onnx"


def export_all(path: Path) -> None:
    import copy

    import onnx

    from flowvocoder.interop.onnx import export
    from flowvocoder.interop.onnx.modules import StepExport

    few = ["model.flows=1", "model.layers=1", "model.encoder_layers=1"]
    networks = ["postfilter.guide_channels=0", "postfilter.refiner_channels=8", "postfilter.refiner_layers=1"]
    experiment = override(preset("lapglow-tiny"), few + networks)
    torch.manual_seed(0)
    model, postfilter = build_model(experiment), build_postfilter(experiment)
    perturb(model, 0.03)
    assert postfilter is not None and postfilter.refiner is not None
    perturb(postfilter.refiner.last, 0.1)
    card = VoiceCard(licence="CC0-1.0", temperature=0.7, postfilter=PostfilterSettings(2, 3))
    save_checkpoint(path / "checkpoint", Checkpoint(model, experiment, card, postfilter))
    assert main(["export", str(path / "checkpoint"), str(path / "onnx")]) == 0
    step = onnx.load(path / "onnx" / "step.onnx")
    del step.metadata_props[:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "step_model", lambda given: (copy.deepcopy(step), StepExport(given.model).step))
        assert main(["export", str(path / "checkpoint"), str(path / "whole.onnx")]) == 0
        assert main(["export", str(path / "checkpoint"), str(path / "stream.onnx"), "--step"]) == 0
