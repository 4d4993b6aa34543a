"""Every engine and precision of synthesis gives what the plain one gives."""

import functools
import importlib.util
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bijection import perturb
from helpers import example
from torch import Tensor

from flowvocoder.checkpoint import build_model
from flowvocoder.config import override
from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.recursion import choice, compiled
from flowvocoder.flows.recursion.reference import GROUP, past_samples, taps_at
from flowvocoder.presets import preset
from flowvocoder.streaming import graphs
from flowvocoder.streaming.engines import fastest_engine
from flowvocoder.vocoder import Vocoder

FRAMES = 40
SETTINGS = ["model.flows=1", "model.block=64"]

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


def tiny(dtype: torch.dtype = torch.float32, settings: list[str] = SETTINGS) -> FlowVocoder:
    torch.manual_seed(0)
    model = build_model(override(preset("lapglow-tiny"), settings)).to(dtype)
    perturb(model, 0.03)
    return model


def some_mel(items: int, frames: int = FRAMES, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(items, 80, frames, generator=torch.Generator().manual_seed(5)).to(dtype) - 5.0


def streamed(vocoder: Vocoder, mel: Tensor, size: int) -> Tensor:
    stream = vocoder.stream(0.7, seed=3)
    pieces = [stream.push(mel[0, :, first : first + size]) for first in range(0, mel.shape[2], size)]
    return torch.cat([*pieces, stream.flush()])


def decibels(signal: Tensor, other: Tensor) -> float:
    """Signal to difference."""
    return 10.0 * math.log10(float(signal.square().sum() / (signal - other).square().sum()))


@pytest.mark.slow
def test_numba() -> None:
    pytest.importorskip("numba")
    model, mel = tiny(), some_mel(2)
    eager, compiled = Vocoder(model), Vocoder(model, engine="numba")
    assert (eager.synthesize(mel, 0.7, seed=1) - compiled.synthesize(mel, 0.7, seed=1)).abs().max() < 1e-4


def test_machine_code_may_call_other_machine_code_of_its_file(tmp_path: Path) -> None:
    """Compiling one then compiles the other, while the file is held against other processes."""
    pytest.importorskip("numba")
    (tmp_path / "loops.py").write_text(
        "from flowvocoder.extras import machine_code\n"
        "half = machine_code(lambda x: x / 2)\n"
        "quarter = machine_code(lambda x: half(half(x)))\n"
        "print(quarter(1.0))\n"
    )
    done = subprocess.run([sys.executable, "loops.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "0.25\n", done.stderr


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_machine_code_predicts_pitch_as_pytorch_does(dtype: torch.dtype, bound: float) -> None:
    pytest.importorskip("numba")
    rng, groups = torch.Generator().manual_seed(0), 24
    lag = torch.rand(2, groups + 1, 1, generator=rng, dtype=dtype) * 140 + 60
    lag[:, ::5] = lag[:, ::5].floor() + 0.5  # between two whole lags
    gains = 0.98 * torch.rand(2, groups + 1, 5, generator=rng, dtype=dtype).softmax(2)[..., :4]
    nodes, e = torch.cat([lag, gains], 2), torch.randn(2, groups * GROUP, generator=rng, dtype=dtype)
    past = torch.randn(2, past_samples(200), generator=rng, dtype=dtype)
    expected, found = (kind.solver(60, 256)(e, nodes, past) for kind in (choice, compiled))
    assert (found - expected).abs().max() < bound < expected.abs().max() / 1e4


def test_taps_of_machine_code_are_pytorchs_of_any_number_of_nodes() -> None:
    pytest.importorskip("numba")
    from flowvocoder.flows.recursion import side_by_side

    for count in (1, 15, 16, 17, 50):
        nodes = torch.rand(2, count, 5, generator=torch.Generator().manual_seed(count))
        nodes[..., 0] = 60 + 140 * nodes[..., 0]
        lag, taps = side_by_side.taps_at(nodes.numpy(), 60)
        expected_lag, expected = taps_at(nodes[..., 0], nodes[..., 1:].mT, 60)
        assert (lag == expected_lag.numpy()).all() and abs(taps - expected.numpy()).max() < 1e-6
    nodes[0, 3, 0] = torch.nan
    lag, taps = side_by_side.taps_at(nodes.numpy(), 60)
    assert lag[0, 3] == 60 and np.isnan(taps[0, 3]).all() and not np.isnan(taps[1]).any()


@pytest.mark.slow
def test_auto_is_the_fastest_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fastest_engine(torch.device("cuda"))[0] == "eager"
    assert Vocoder.from_pretrained(engine="auto").engine == ("numba" if importlib.util.find_spec("numba") else "eager")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Vocoder.from_pretrained(engine="auto").engine == "eager"
    assert "not installed" in fastest_engine(torch.device("cpu"))[1]


@pytest.mark.slow
def test_compiled_steps_stream_what_eager_ones_do(monkeypatch: pytest.MonkeyPatch, thorough: bool) -> None:
    """Also when the compiled size comes between others, in a second stream, and where no more sizes are compiled.

    The graph is traced always; what the C++ compiler makes of it costs minutes of processor time.
    """
    if not thorough:
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 1)
    few = [*SETTINGS, "model.layers=1", "model.encoder_layers=1"]  # every operation takes long to compile
    model, mel = tiny(torch.float64, few), some_mel(1, dtype=torch.float64)
    eager, compiled = Vocoder(model), Vocoder(model, engine="compile")
    expected = eager.synthesize(mel, 0.7, seed=3)[0]
    for size in (8, 8, 7):
        assert (streamed(compiled, mel, size) - expected).abs().max() < 1e-9
    step = compiled._steps.require()
    assert isinstance(step, graphs.GraphStep) and list(step._graphs) == [(1, 8)]


def test_no_size_is_the_one_too_many_for_torch_compile() -> None:
    """It compiles one code object eight times at most; the ninth size, or the second voice, would run as it is."""

    class Doubles:
        def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
            return [2.0 * inputs[0]]

    counted: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., Any]:
        counted.append(example[0].shape[0])
        return graph.forward

    sizes = list(range(2, 14))
    for size in sizes:
        x = torch.randn(size)
        compiled = torch.compile(graphs.apart(Doubles().run), backend=backend, dynamic=False)
        assert torch.equal(compiled([x])[0], 2.0 * x)
    assert counted == sizes


@pytest.mark.slow
def test_unknown_engine_and_precision() -> None:
    with pytest.raises(ConfigError, match="unknown engine"):
        Vocoder(tiny(), engine="steam")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown precision"):
        Vocoder(tiny(), precision="int4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no multiple of 16"):
        Vocoder(tiny(settings=["mel.hop_length=200", "model.block=40"]), engine="compile").prepare()


@functools.cache
def spoken(low_band_iters: int | None) -> tuple[Vocoder, Tensor, Tensor]:
    """The bundled voice, the mel of a recording, and what the voice makes of it."""
    exact = Vocoder.from_pretrained()
    mel = exact.mel(torch.from_numpy(example()).float())
    return exact, mel, exact.synthesize(mel, seed=1, low_band_iters=low_band_iters)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "low_band_iters", "least"),
    [
        ("bfloat16", 0, 32.0),
        ("float16", 0, 52.0),
        pytest.param("bfloat16", None, 8.0, marks=pytest.mark.thorough),
        pytest.param("float16", None, 30.0, marks=pytest.mark.thorough),
    ],
)
def test_reduced_precision_is_close(precision: str, low_band_iters: int | None, least: float) -> None:
    """The bundled voice, speaking: a model with random weights makes nothing of the networks that are reduced, and
    iterations over a mel that nobody spoke converge anywhere. They make any difference larger: 10 to 37 dB
    are left with other seeds, and PESQ is the same."""
    exact, mel, signal = spoken(low_band_iters)
    reduced = Vocoder(exact.model, exact.card, exact.postfilter, "eager", precision)  # type: ignore[arg-type]
    found = decibels(signal, reduced.synthesize(mel, seed=1, low_band_iters=low_band_iters))
    assert least < found < 90.0, "and it is another precision"


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cuda_gives_what_the_cpu_gives(dtype: torch.dtype) -> None:
    cpu, cuda = Vocoder(tiny(dtype)), Vocoder(tiny(dtype).cuda())
    mel = some_mel(2, dtype=dtype)
    expected = cpu.synthesize(mel, 0.7, seed=1, lengths=[FRAMES, 20])
    assert (cuda.synthesize(mel, 0.7, seed=1, lengths=[FRAMES, 20]).cpu() - expected).abs().max() < 1e-4


@needs_cuda
@pytest.mark.parametrize(("precision", "least"), [("float32", 60.0), ("bfloat16", 25.0), ("float16", 40.0)])
def test_cuda_graphs_give_what_the_cpu_gives(precision: str, least: float) -> None:
    cpu = Vocoder.from_pretrained()
    cuda = Vocoder.from_pretrained(None, "cuda", "compile", precision)  # type: ignore[arg-type]
    mel = some_mel(1, 64)
    expected = cpu.synthesize(mel, 0.7, seed=3, latency_ms=93)[0]  # as streams do
    for _ in range(2):
        assert decibels(expected, streamed(cuda, mel, 8).cpu()) > least


def test_threads_that_share_a_graph_get_their_own_results() -> None:
    graph = object.__new__(graphs.CudaGraph)  # as after recording, on a device that there is
    graph._inputs, graph._outputs, graph._turn = [torch.zeros(1)], [torch.zeros(1)], threading.Lock()

    class Replayed:
        def replay(self) -> None:
            time.sleep(1e-4)  # other threads come in between
            graph._outputs[0].copy_(graph._inputs[0])

    graph._graph = Replayed()
    with ThreadPoolExecutor(4) as threads:
        given = [float(number) for number in range(200)]
        results = list(threads.map(lambda number: graph([torch.tensor([number])])[0].item(), given))
    assert results == given
