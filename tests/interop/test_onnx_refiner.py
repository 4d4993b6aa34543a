"""An exported refiner gives what PyTorch's gives: whole signals, batches with lengths, and pieces."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import speech_like

from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.guide import Guide
from flowvocoder.postfilter.refiner import Refiner
from flowvocoder.postfilter.settings import PostfilterSettings

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytestmark = pytest.mark.slow

from onnx import TensorProto  # noqa: E402

from flowvocoder.interop.onnx.assembled import postfilter_model  # noqa: E402
from flowvocoder.interop.onnx.storage import Storage, store  # noqa: E402
from flowvocoder.runtime import graph as pieces  # noqa: E402
from flowvocoder.runtime.graph import ExportedGraph  # noqa: E402

SETTINGS = PostfilterSettings(4, 8 + 10 + 6 + 2)


def refining(name: str, **sizes: int) -> PostFilter:
    """A post-filter whose networks say something."""
    spec = dataclasses.replace(convention(name), **sizes)
    torch.manual_seed(0)
    guide, refiner = Guide(spec, 16, 2), Refiner(spec, 16, 2)
    for layer in (guide.last, refiner.last):
        torch.nn.init.normal_(layer.weight, std=0.02)
    torch.nn.init.normal_(refiner.last.bias, std=0.3)
    return PostFilter(spec, guide, refiner).requires_grad_(False)


def signals(postfilter: PostFilter, frames: int, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio of some frames, which is nearly right, and its mel."""
    spec = postfilter.consistency.spec
    seconds = (frames + 8) * spec.hop_length / spec.sample_rate
    recordings = torch.stack(
        [torch.from_numpy(speech_like(seconds, spec.sample_rate, seed)) for seed in range(len(lengths))]
    )
    mel = MelFrontEnd(spec)(recordings)[..., :frames]
    audio = 0.3 * recordings[:, : frames * spec.hop_length] + 0.01 * torch.randn(len(lengths), frames * spec.hop_length)
    return audio * (torch.arange(audio.shape[1]) < torch.tensor(lengths)[:, None] * spec.hop_length), mel


CASES = [("tacotron2", {}), ("hifigan", {}), ("vocos", {}), ("parallelwavegan", {"n_fft": 1024, "hop_length": 256}),
         ("tacotron2", {"n_fft": 1536, "hop_length": 512})]  # fmt: skip


@pytest.mark.parametrize(("name", "sizes"), CASES)
@pytest.mark.parametrize(("frames", "lengths"), [(40, None), (1, None), (33, [33, 14, 1])])
def test_the_refiner_as_products(name: str, sizes: dict[str, int], frames: int, lengths: list[int] | None) -> None:
    postfilter = refining(name, **sizes)
    audio, mel = signals(postfilter, frames, lengths or [frames])
    length = torch.tensor(lengths or [frames])
    expected = postfilter(audio, mel, SETTINGS, None if lengths is None else length)
    without = PostFilter(postfilter.consistency.spec, postfilter.guide)(audio, mel, SETTINGS)
    assert frames == 1 or (expected - without).abs().max() > 0.02
    model = postfilter_model(postfilter, SETTINGS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"audio": audio.numpy(), "mel": mel.numpy(), "length": length.numpy()})
    assert np.abs(got - expected.numpy()).max() < 1e-4


def written(postfilter: PostFilter, path: Path, storage: Storage = "float32") -> ExportedGraph:
    """The exported post-filter."""
    model = postfilter_model(postfilter, SETTINGS)
    store(model, storage)
    assert any("_hidden_" in x.name and x.data_type == TensorProto.INT8 for x in model.graph.initializer) == (
        storage == "int8"
    )
    for key, value in {"format": "flowvocoder", "hop_length": str(postfilter.consistency.hop)}.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return ExportedGraph(path)


@pytest.mark.parametrize("lengths", [[170], [170, 97]])
def test_pieces_are_the_whole(lengths: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less context than there is, which this network needs less of."""
    monkeypatch.setattr(pieces, "PIECE", 48)
    monkeypatch.setattr(pieces, "CONTEXT", 48)
    postfilter = refining("tacotron2")
    audio, mel = signals(postfilter, 170, lengths)
    graph, length = written(postfilter, tmp_path / "postfilter.onnx"), np.array(lengths)
    got = pieces.PostFilter(graph, length).push(mel.numpy(), audio.numpy(), ends=True)
    (whole,) = graph(audio=audio.numpy(), mel=mel.numpy(), length=length)
    expected = postfilter(audio, mel, SETTINGS, torch.tensor(lengths)).numpy()
    assert np.abs(got - whole).max() < 1e-4 and np.abs(got - expected).max() < 1e-4


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_weights_in_fewer_bits(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.interop.onnx.storage.LARGE", 256)
    postfilter = refining("tacotron2")
    audio, mel = signals(postfilter, 40, [40])
    inputs = {"audio": audio.numpy(), "mel": mel.numpy(), "length": np.array([40])}
    kinds: list[Storage] = ["float32", storage]
    graphs = [written(postfilter, tmp_path / f"{kind}.onnx", kind) for kind in kinds]
    (expected,), (got,) = (graph(**inputs) for graph in graphs)
    assert 0 < np.abs(got - expected).max() < 0.03 * np.abs(expected).max()


def test_one_iteration_comes_before_the_refiner() -> None:
    postfilter = refining("hifigan")
    audio, mel = signals(postfilter, 20, [20])
    for settings in (PostfilterSettings(1), PostfilterSettings(2), PostfilterSettings(0, 3)):
        model = postfilter_model(postfilter, settings)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (got,) = session.run(None, {"audio": audio.numpy(), "mel": mel.numpy(), "length": np.array([20])})
        assert np.abs(got - postfilter(audio, mel, settings).numpy()).max() < 1e-4, settings


def test_more_low_band_iterations_are_no_more_operators() -> None:
    """A browser takes half a minute to load ten thousand of them."""
    postfilter = refining("tacotron2")
    counts = {len(postfilter_model(postfilter, PostfilterSettings(4, n)).graph.node) for n in (60, 120)}
    assert len(counts) == 1
