"""Exported models give what PyTorch gives."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile as sf
import torch
import torch.nn.functional as F
from helpers import speech_like

from flowvocoder.checkpoint import build_model, load_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import override
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.flows.recursion.reference import past_samples, safe_stride, solve
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.guide import Guide
from flowvocoder.postfilter.latency import with_delay
from flowvocoder.postfilter.real_time import RealTimeIterations
from flowvocoder.postfilter.refiner import Refiner
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import preset
from flowvocoder.vocoder import Vocoder

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytestmark = pytest.mark.slow  # an export takes half a minute

from flowvocoder.interop.onnx.assembled import postfilter_model  # noqa: E402
from flowvocoder.interop.onnx.modules import StepExport  # noqa: E402
from flowvocoder.interop.onnx.storage import HIDDEN, eight_bits, store  # noqa: E402
from flowvocoder.runtime.graph import ExportedGraph  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "onnx_stream.py"


@pytest.fixture(scope="module")
def checkpoint(exported_voice: tuple[Path, Path]) -> Path:
    return exported_voice[0]


@pytest.fixture(scope="module")
def step(exported_voice: tuple[Path, Path]) -> Path:
    return exported_voice[1] / "step.onnx"


@pytest.fixture(scope="module")
def whole(exported_voice: tuple[Path, Path]) -> Path:
    return exported_voice[1].with_name("whole.onnx")


@pytest.fixture(scope="module")
def stream(exported_voice: tuple[Path, Path]) -> Path:
    return exported_voice[1].with_name("stream.onnx")


@pytest.fixture(scope="module")
def mels(checkpoint: Path) -> torch.Tensor:
    vocoder = Vocoder.from_pretrained(checkpoint)
    return torch.cat([vocoder.mel(torch.from_numpy(speech_like(1.0, 22050, seed))) for seed in (0, 1)])


def test_a_file_for_whole_mels_gives_what_pytorch_gives(whole: Path, checkpoint: Path, mels: torch.Tensor) -> None:
    vocoder, graph = Vocoder.from_pretrained(checkpoint), ExportedGraph(whole)
    assert graph.about["licence"] == "CC0-1.0" and graph.about["variant"] == "whole"
    for mel, lengths in ((mels, None), (mels[:1, :, :5], None), (mels, [40, 17]), (mels[:1, :, :1], None)):
        expected = vocoder.synthesize(mel, 0.7, seed=3, lengths=lengths).numpy()
        noise = vocoder.draw_noise(mel, 0.7, 3).numpy()
        length = np.array(lengths or [mel.shape[2]] * len(mel))
        (got,) = graph(mel=mel.numpy(), noise=noise, length=length)
        assert got.shape == expected.shape and np.abs(got - expected).max() < 1e-4


def in_steps(graph: ExportedGraph, mel: np.ndarray, noise: np.ndarray, length: list[int]) -> np.ndarray:
    """What an export with --step gives of whole mels, in steps of different sizes."""
    hop, block, delay = (int(graph.about[key]) for key in ("hop_length", "block", "delay"))
    frames, rest = mel.shape[2], -(-delay // hop)
    mel = np.pad(mel, ((0, 0), (0, 0), (0, rest)))
    noise = np.pad(noise, ((0, 0), (0, 0), (0, rest * hop // block)))
    state = [np.zeros((len(mel), *shape), np.float32) for shape in graph.about["state_shapes"]]
    audio, cuts = [], [0, 1, 6, 14, 22, mel.shape[2]]
    for start, end in itertools.pairwise(min(cut, mel.shape[2]) for cut in cuts):
        inputs = {f"state_{number}": value for number, value in enumerate(state)}
        inputs |= {"mel": mel[..., start:end], "noise": noise[..., start * hop // block : end * hop // block]}
        samples, *state = graph(**inputs, position=np.array(start), length=np.array(length))
        audio.append(samples)
    return np.concatenate(audio, 1)[:, delay : delay + frames * hop]


def test_a_step_gives_what_a_stream_gives(stream: Path, checkpoint: Path, mels: torch.Tensor) -> None:
    vocoder, graph, mel = Vocoder.from_pretrained(checkpoint), ExportedGraph(stream), mels[:1]
    live = vocoder.stream(0.7, seed=3)
    expected = torch.cat([live.push(mel[0]), live.flush()]).numpy()
    got = in_steps(graph, mel.numpy(), vocoder.draw_noise(mel, 0.7, 3).numpy(), [mel.shape[2]])
    assert graph.about["rounds"] == 2 and np.abs(got[0] - expected).max() < 1e-4
    assert int(graph.about["delay"]) == round(live.seconds_behind * vocoder.sample_rate)


@pytest.mark.parametrize(("look_ahead", "delay"), [(4, 1024), (1, 300)])
def test_rounds_behind_any_step(look_ahead: int, delay: int, tmp_path: Path) -> None:
    """The step is one that passes on its noise, late. Streams do not refine."""
    import onnx
    from onnx import TensorProto, helper

    from flowvocoder.interop.onnx.rounds import add_rounds

    spec, hop = convention("tacotron2"), 256
    kinds = {"mel": ["batch", 80, "frames"], "noise": ["batch", hop, "blocks"], "position": [], "length": ["batch"]}
    values = {}
    for name, sizes in (kinds | {"audio": ["batch", "samples"]}).items():
        number = TensorProto.INT64 if name in ("position", "length") else TensorProto.FLOAT
        values[name] = helper.make_tensor_value_info(name, number, sizes)
    shape = helper.make_node("Constant", [], ["flat"], value_ints=[0, -1])
    nodes = [shape, helper.make_node("Transpose", ["noise"], ["turned"], perm=[0, 2, 1]),
             helper.make_node("Reshape", ["turned", "flat"], ["audio"])]  # fmt: skip
    step = helper.make_graph(nodes, "step", [values[name] for name in kinds], [values["audio"]])
    model = helper.make_model(step, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    refiner, settings = Refiner(spec, 8, 1), with_delay(look_ahead)
    torch.nn.init.ones_(refiner.last.bias)
    postfilter = PostFilter(spec, refiner=refiner).requires_grad_(False)
    later, states = add_rounds(model, delay, [], postfilter, settings)
    about = {"format": "flowvocoder", "hop_length": hop, "block": hop, "delay": later, "state_shapes": states}
    for key, value in about.items():
        model.metadata_props.add(key=key, value=json.dumps(value) if key == "state_shapes" else str(value))
    onnx.save(model, tmp_path / "step.onnx")
    lengths = torch.tensor([40, 23])
    recordings = torch.stack([torch.from_numpy(speech_like(1.0, 22050, seed)) for seed in (0, 1)])
    mel, audio = MelFrontEnd(spec)(recordings)[..., :40], 0.3 * recordings[:, : 40 * hop]
    audio = audio * (torch.arange(40 * hop) < hop * lengths[:, None])
    expected = RealTimeIterations(postfilter.consistency, postfilter.low_band, settings, lengths).push(mel, audio, True)
    late = np.pad(audio.numpy(), ((0, 0), (delay, -delay % hop)))
    noise = late.reshape(2, -1, hop).swapaxes(1, 2)
    got = in_steps(ExportedGraph(tmp_path / "step.onnx"), mel.numpy(), noise, lengths.tolist())
    assert (expected - audio).abs().max() > 0.1 and np.abs(got - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_weights_in_fewer_bits(
    storage: Literal["float16", "int8"],
    whole: Path,
    mels: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import onnx

    monkeypatch.setattr("flowvocoder.interop.onnx.storage.LARGE", 256)  # this voice is small
    model = onnx.load(whole)
    assert not any(node.metadata_props for node in model.graph.node)  # no paths of who exported it
    store(model, storage)
    path = tmp_path / "stored.onnx"
    onnx.save(model, path)
    assert path.stat().st_size < 0.6 * whole.stat().st_size
    names = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    kinds = ("gates", "encoder.first", "log_scale.features")
    found = {kind for kind in kinds if any(kind in name for name in names)}
    assert found == (set(kinds) if storage == "int8" else set()), names
    assert not any("lag" in name or "out" in name or "product" in name for name in names)
    block = int(ExportedGraph(whole).about["block"])
    noise = 0.7 * np.random.default_rng(0).standard_normal((2, block, 256 // block * mels.shape[2]), np.float32)
    inputs = {"mel": mels.numpy(), "noise": noise, "length": np.array([mels.shape[2], 40])}
    (expected,), (got,) = (ExportedGraph(file)(**inputs) for file in (whole, path))
    assert 0 < np.abs(got - expected).max() < (0.03 if storage == "float16" else 0.1) * np.abs(expected).max()


@pytest.mark.parametrize("outputs", [0, 1, -1])
def test_eight_bits_are_half_a_step_off_at_most(outputs: int) -> None:
    weight = np.random.default_rng(1).standard_normal((7, 5), np.float32) * np.logspace(-3, 3, 5, dtype=np.float32)
    whole, scale = eight_bits(weight, outputs)
    assert whole.dtype == np.int8 and scale.shape == ((7, 1) if outputs == 0 else (1, 5))
    assert (np.abs(whole * scale - weight) <= 0.501 * scale).all() and np.abs(whole).max(1 - outputs % 2).min() == 127


def test_the_layers_that_are_hidden() -> None:
    """By the names that the bundled voice's weights have in a file."""
    hidden = {"step.encoder.first.0.weight", "step.flow.steps.0.conditioner.gates.0.weight", "post_hidden_3",
              "step.flow.steps.16.second.weight", "step.flow.steps.19.log_scale.features.first.weight"}  # fmt: skip
    others = {"step.encoder.start.weight", "step.flow.steps.0.conditioner.out.weight", "step.flow.steps.16.last.weight",
              "step.flow.steps.1.product.weight", "step.flow.steps.21.features.first.weight", "post_constant_3",
              "step.flow.steps.21.sample_features.second.weight", "step.flow.steps.21.lag.weight"}  # fmt: skip
    assert {name for name in hidden | others if HIDDEN.search(name)} == hidden


def test_synth_with_the_onnx_engine(
    step: Path, checkpoint: Path, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mel = tmp_path / "m.npy"
    assert main(["mel", str(wav), str(mel), "--checkpoint", str(checkpoint)]) == 0
    for name, engine in ((checkpoint, "eager"), (step.parent, "onnx")):
        out = tmp_path / f"{engine}.wav"
        assert main(["synth", str(mel), str(out), "--checkpoint", str(name), "--engine", engine, "--seed", "2"]) == 0
    eager, onnx = (sf.read(tmp_path / f"{name}.wav", dtype="int16")[0].astype(int) for name in ("eager", "onnx"))
    assert np.abs(eager - onnx).max() <= 4
    for options, message in (
        (["--precision", "bfloat16"], "--precision bfloat16 is not for --engine onnx"),
        (["--denoise", "1"], "--denoise 1.0 is not for --engine onnx"),
        (["--temperature", "-1"], "--temperature must be 0 or above"),
        (["--checkpoint", str(step)], "step.onnx: a file, not a folder"),
    ):
        command = ["synth", str(mel), str(tmp_path / "o.wav"), "--checkpoint", str(step.parent), *options]
        assert main([*command, "--engine", "onnx"]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "o.wav").exists()


def test_the_example_says_which_file_it_takes(whole: Path) -> None:
    command = [sys.executable, str(EXAMPLE), str(whole), "mel.npy", "out.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.strip().endswith("takes whole mels only: export it with --step")


def test_the_example_needs_no_torch(stream: Path, mels: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", mels[0].numpy())
    code = "import sys, runpy; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    arguments = [str(a) for a in (EXAMPLE, stream, tmp_path / "m.npy", tmp_path / "o.wav")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    audio, rate = sf.read(tmp_path / "o.wav")
    assert rate == 22050 and len(audio) == mels.shape[2] * 256 and 0.001 < np.abs(audio).max() <= 1.0


def test_state_is_what_the_metadata_says(step: Path, checkpoint: Path) -> None:
    shapes = StepExport(load_checkpoint(checkpoint).model).step.state_shapes
    assert [tuple(shape) for shape in ExportedGraph(step).about["state_shapes"]] == shapes


@pytest.mark.parametrize(("min_lag", "block", "rounds"), [(44, 128, 4), (44, 32, 1), (90, 256, 2), (44, 16, 1)])
def test_recursion_as_an_onnx_function(min_lag: int, block: int, rounds: int) -> None:
    from onnx import TensorProto, helper

    from flowvocoder.flows.recursion import onnx as recursion

    past, groups = past_samples(200), safe_stride(min_lag, block)
    kinds = {"e": TensorProto.FLOAT, "lag": TensorProto.INT64, "taps": TensorProto.FLOAT, "past": TensorProto.FLOAT}
    graph = helper.make_graph(
        [helper.make_node(recursion.NAME, list(kinds), ["x"], domain=recursion.DOMAIN)],
        "one",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(recursion.DOMAIN, 1)]
    model = helper.make_model(
        graph, functions=[recursion.function(groups, past, 18, rounds)], opset_imports=opsets, ir_version=9
    )
    generator = torch.Generator().manual_seed(0)
    count = 4 * block // 16
    # Of four blocks: the lags of some allow more groups at once.
    lowest = torch.tensor([min_lag, 80, 150, min_lag]).clamp_min(min_lag).repeat_interleave(block // 16)
    lag = torch.maximum(torch.randint(min_lag, 200, (2, count + 1), generator=generator), F.pad(lowest, (0, 1)))
    taps = torch.rand(2, count + 1, 21, generator=generator) / 22
    e, before = (torch.randn(2, n, generator=generator) for n in (count * 16, past))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = {"e": e.numpy(), "lag": lag.numpy(), "taps": taps.numpy(), "past": before.numpy()}
    assert np.abs(session.run(None, values)[0] - solve(e, lag, taps, before).numpy()).max() < 1e-5


def test_refusals(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(checkpoint), str(tmp_path / "v.bin")]) == 2
    assert "must end in .onnx" in capsys.readouterr().err
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="not an ONNX file"):
        ExportedGraph(tmp_path / "bad.onnx")
    with pytest.raises(CheckpointError, match="no such file"):
        ExportedGraph(tmp_path / "nothing.onnx")
    with pytest.raises(ConfigError, match="cannot be exported"):
        StepExport(build_model(override(preset("lapglow-tiny"), ["model.block=16"])))


@pytest.mark.parametrize("name", ["tacotron2", "parallelwavegan"])
@pytest.mark.parametrize(("frames", "lengths"), [(40, None), (1, None), (33, [33, 14, 1])])
def test_the_post_filter_as_products(name: str, frames: int, lengths: list[int] | None) -> None:
    spec, settings = convention(name), PostfilterSettings(3, 4 + 10 + 12)
    torch.manual_seed(0)
    guide = Guide(spec, 16, 2)
    torch.nn.init.normal_(guide.last.weight, std=0.02)
    postfilter = PostFilter(spec, guide).requires_grad_(False)
    items = 1 if lengths is None else len(lengths)
    recordings = torch.stack([torch.from_numpy(speech_like(1.0, 22050, seed)) for seed in range(items)])
    mel = MelFrontEnd(spec)(recordings)[..., :frames]
    audio = 0.3 * recordings[:, : frames * spec.hop_length] + 0.01 * torch.randn(items, frames * spec.hop_length)
    length = torch.tensor(lengths or [frames])
    audio = audio * (torch.arange(audio.shape[1]) < length[:, None] * spec.hop_length)
    model = postfilter_model(postfilter, settings)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = {"audio": audio.numpy(), "mel": mel.numpy(), "length": length.numpy()}
    expected = postfilter(audio, mel, settings, None if lengths is None else length)
    assert frames == 1 or (expected - audio).abs().max() > 0.01
    # Iterations amplify rounding: after guided ones, from audio as far off as this, tenfold.
    assert np.abs(session.run(None, values)[0] - expected.numpy()).max() < 1e-4
