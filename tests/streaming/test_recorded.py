"""Whole syntheses that are recorded: what a CUDA graph needs of them, and what stands for one on a CPU.

A CUDA graph replays kernels, whatever the values. So does a trace of operators, which a CPU can run.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import example
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.streaming import recorded
from flowvocoder.streaming.engines import ModelSteps
from flowvocoder.streaming.graphs import Run
from flowvocoder.streaming.recorded import Recordings, on_grid, padded, whole
from flowvocoder.vocoder import Vocoder

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


class Trace:
    """Stands for a CUDA graph: fixed buffers, and the operators that ran when it was made."""

    def __init__(self, run: Run, example: Sequence[Tensor]):
        self.inputs = [tensor.clone() for tensor in example]
        self.graph = make_fx(lambda *given: run(given))(*self.inputs)
        self.replays = 0

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        self.replays += 1
        torch._foreach_copy_(self.inputs, list(inputs))
        return [tensor.clone() for tensor in self.graph(*self.inputs)]


def some_mel(frames: int, items: int = 1) -> Tensor:
    return torch.randn(items, 80, frames, generator=torch.Generator().manual_seed(5)) - 5.0


def compiled(voice: Path, device: str = "cpu") -> Vocoder:
    return Vocoder.from_pretrained(voice, device, "compile")


def synthesis(vocoder: Vocoder) -> Run:
    settings = vocoder.iterations(None, None, None)
    return whole(vocoder._steps.require(), lambda lengths: vocoder.postfilter.stages(settings, lengths))


def given(vocoder: Vocoder, lengths: list[int], seed: int, items: int = 3, frames: int = 40) -> list[Tensor]:
    generator, step, longest = torch.Generator().manual_seed(seed), vocoder._steps.require(), max(lengths)
    mel = torch.randn(len(lengths), 80, longest, generator=generator) - 5.0
    noise = torch.randn(len(lengths), longest * step.rate, step.block, generator=generator)
    like = next(vocoder.parameters())
    return padded(mel.to(like), noise.to(like), torch.tensor(lengths, device=like.device), items, frames)


@pytest.fixture
def traced(small_voice: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Vocoder, list[Trace]]]:
    """A voice whose syntheses are recorded by traces, and these."""
    made: list[Trace] = []

    def record(run: Run, example: Sequence[Tensor]) -> Run:
        made.append(Trace(run, example))
        return made[-1]

    kept = Recordings(record)
    monkeypatch.setattr(ModelSteps, "recordings", lambda self, step: kept if self._engine == "compile" else None)
    yield compiled(small_voice).double(), made


@pytest.fixture(scope="module")
def one_trace(small_voice: Path) -> tuple[Vocoder, Trace]:
    """A voice, and the trace of its synthesis of three items of full length."""
    vocoder = compiled(small_voice)
    with torch.inference_mode():
        return vocoder, Trace(synthesis(vocoder), given(vocoder, [40, 40, 40], 0))


def test_what_was_traced_on_some_values_gives_what_others_give(one_trace: tuple[Vocoder, Trace]) -> None:
    """Lengths among them: nothing that depends on values was decided when the trace was made."""
    vocoder, trace = one_trace
    run = synthesis(vocoder)
    with torch.inference_mode():
        for lengths, seed in (([33, 40, 1], 1), ([7, 2], 2)):
            inputs = given(vocoder, lengths, seed)
            expected = run(inputs)[0]
            assert torch.equal(trace(inputs)[0], expected) and expected.abs().max() > 1e-3
            assert not any(audio[256 * n :].any() for audio, n in zip(expected, lengths, strict=False))


FORBIDDEN = {"_local_scalar_dense", "item", "nonzero", "masked_select", "lift_fresh"}
"""Operators that read numbers back, or make a tensor of numbers of Python, which is then copied to the GPU."""


class AsWhileRecording(TorchDispatchMode):
    """Raises where a recording on this device would end."""

    def __init__(self, device: torch.device):
        super().__init__()
        self._device = device.type

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            x is not None and x.dtype == torch.bool for x in args[1]
        )
        if name in FORBIDDEN or by_mask:
            raise AssertionError(f"{name} while recording")
        results = function(*args, **(kwargs or {}))
        found = torch.utils._pytree.tree_leaves((args, kwargs, results))
        devices = {x.device.type for x in found if isinstance(x, Tensor)}
        if devices - {self._device}:
            raise AssertionError(f"{name} with tensors on {devices} while recording")
        return results


@pytest.mark.parametrize("voice", ["small", "bundled"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_nothing_is_read_back_or_copied_to_the_device(device: str, voice: str, small_voice: Path) -> None:
    """Only a GPU, or a pretended one, sees copies between devices."""
    vocoder = Vocoder.from_pretrained(small_voice if voice == "small" else None, device, "compile")
    run = synthesis(vocoder)
    with torch.inference_mode():
        inputs = given(vocoder, [40, 31, 2], 0)
        run(inputs)  # makes constants
        with AsWhileRecording(vocoder.device):
            audio = run(inputs)[0]
    assert audio.device == vocoder.device and audio.abs().max() > 1e-3


BROKEN: dict[str, Callable[[Tensor], object]] = {
    "a number read back": lambda x: float(x.sum()),
    "a branch": lambda x: 1 if x.any() else 0,
    "a list as an index": lambda x: x[[0, 2]],
    "a mask as an index": lambda x: x[x > 0],
    "a new tensor": lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=x.device),
}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
@pytest.mark.parametrize("name", BROKEN)
def test_the_check_sees_what_ends_a_recording(device: str, name: str) -> None:
    x = torch.ones(3, device=device)
    with AsWhileRecording(x.device), pytest.raises(AssertionError, match="while recording"):
        BROKEN[name](x)


@needs_cuda
def test_cuda_check_sees_copies_to_the_gpu() -> None:
    with AsWhileRecording(torch.device("cuda")), pytest.raises(AssertionError, match="while recording"):
        torch.ones(3).cuda()


def test_sizes_lie_on_a_grid_and_little_is_wasted() -> None:
    sizes = [on_grid(number) for number in range(1, 5000)]
    assert all(number <= size <= 1.125 * number for number, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 90 and sizes == sorted(sizes) and all(on_grid(size) == size for size in set(sizes))


def test_a_size_is_recorded_when_it_comes_back_and_others_of_its_bucket_are_replayed(
    traced: tuple[Vocoder, list[Trace]],
) -> None:
    vocoder, made = traced
    plain = Vocoder(vocoder.model, vocoder.card, vocoder.postfilter)
    mel = some_mel(40)
    for frames, recordings, replays in ((39, 0, 0), (40, 1, 1), (37, 1, 2), (30, 1, 2), (40, 1, 3)):
        part = mel[..., :frames]
        audio = vocoder.synthesize(part, seed=3)
        assert audio.shape == (1, frames * 256) and (audio - plain.synthesize(part, seed=3)).abs().max() < 1e-9
        assert len(made) == recordings and sum(trace.replays for trace in made) == replays


def test_items_of_a_replayed_batch_are_as_alone(traced: tuple[Vocoder, list[Trace]]) -> None:
    vocoder, made = traced
    plain = Vocoder(vocoder.model, vocoder.card, vocoder.postfilter)
    mels = some_mel(40, 2)
    for lengths in ([40, 23], [37, 40], [40, 23]):
        together = vocoder.synthesize(mels, seed=[3, 4], lengths=lengths)
        for item, (mel, length) in enumerate(zip(mels, lengths, strict=True)):
            alone = plain.synthesize(mel[:, :length], seed=3 + item)
            assert (together[item, : 256 * length] - alone[0]).abs().max() < 1e-9
            assert not together[item, 256 * length :].any()
    assert made[0].replays == 2


def test_padding_changes_nothing(small_voice: Path) -> None:
    """Of an odd and an even number of frames: padded, and beside a longer item."""
    vocoder = compiled(small_voice).double()
    run = synthesis(vocoder)
    with torch.inference_mode():
        for length in (31, 32):
            mel, noise, lengths = given(vocoder, [length], 3, 1, length)
            alone = run([mel, noise, lengths])[0]
            longer = padded(mel, noise, lengths, 1, 40)
            mels, noises = (torch.cat([x, x.flip(1)]) for x in longer[:2])
            for inputs in (longer, [mels, noises, torch.tensor([length, 40])]):
                difference = run(inputs)[0][:1, : 256 * length] - alone
                assert difference.abs().max() < 1e-9 < alone.abs().max()


def test_other_settings_and_other_weights_are_recorded_by_themselves(traced: tuple[Vocoder, list[Trace]]) -> None:
    vocoder, made = traced
    mel = some_mel(12)

    def recordings(**given: int) -> int:
        for _ in range(2):
            vocoder.synthesize(mel, seed=3, **given)
        return len(made)

    assert recordings(gl_iters=0) == 1 and recordings(gl_iters=1, low_band_iters=0) == 2
    assert recordings(gl_iters=0) == 2
    vocoder.postfilter.to(torch.float32).to(torch.float64)
    assert recordings(gl_iters=0) == 3, "the first reads weights where they were"


def test_long_ones_and_those_of_a_latency_are_not_recorded(
    traced: tuple[Vocoder, list[Trace]], monkeypatch: pytest.MonkeyPatch
) -> None:
    vocoder, made = traced
    monkeypatch.setattr(torch, "compile", lambda run, **_: run)
    for _ in range(2):
        vocoder.synthesize(some_mel(12), seed=3, latency_ms=200.0)
        vocoder.synthesize(some_mel(12), seed=3, convention="parallelwavegan", trust_mel=True, gl_iters=0)
    monkeypatch.setattr("flowvocoder.synthesis.CHUNK_ON_GPU", 23)
    for _ in range(2):
        vocoder.synthesize(some_mel(24), seed=3, gl_iters=0)
    assert not made


def doubled(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [2.0 * inputs[0]]


def test_of_many_recordings_the_one_not_used_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MOST", 2)
    made: list[int] = []

    def record(run: Run, example: Sequence[Tensor]) -> Run:
        made.append(len(example[0]))
        return run

    kept = Recordings(record)

    def use(size: int) -> bool:
        run = kept.find(size, doubled, lambda: [torch.zeros(size)])
        assert run is not None and torch.equal(run([torch.ones(size)])[0], torch.full((size,), 2.0))
        return run is not doubled

    assert [use(size) for size in (1, 2, 3)] == [False] * 3 and [use(size) for size in (1, 2, 1, 3, 1)] == [True] * 5
    assert made == [1, 2, 3] and use(2) and made == [1, 2, 3, 2]


def test_sizes_that_came_once_are_not_remembered_for_ever() -> None:
    kept = Recordings(lambda run, example: run)
    for number in (*range(recorded.REMEMBERED + 1), 0):
        assert kept.find(number, doubled, list) is doubled
    assert len(kept._met) == recorded.REMEMBERED


def test_what_cannot_be_recorded_runs_as_before_and_one_warning_says_so(
    small_voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Run] = []

    def record(run: Run, example: Sequence[Tensor]) -> Run:
        tried.append(run)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    kept = Recordings(record)
    monkeypatch.setattr(ModelSteps, "recordings", lambda self, step: kept if self._engine == "compile" else None)
    monkeypatch.setattr(torch, "compile", lambda run, **_: run)
    vocoder = compiled(small_voice).double()
    plain = Vocoder(vocoder.model, vocoder.card, vocoder.postfilter)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for frames in (12, 12, 12, 14, 14):
            mel = some_mel(frames)
            audio = vocoder.synthesize(mel, seed=3, gl_iters=1)
            assert (audio - plain.synthesize(mel, seed=3, gl_iters=1)).abs().max() < 1e-9
    said = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
    assert len(tried) == 1 and said == [
        "synthesis cannot be recorded as a CUDA graph, and runs without one: "
        "CUDA error: operation not permitted when stream is capturing"
    ]


def test_threads_that_share_recordings_get_their_own_results() -> None:
    shared = [torch.zeros(1), torch.zeros(1)]  # as the memory of CUDA graphs

    def record(run: Run, example: Sequence[Tensor]) -> Run:
        def replay(inputs: Sequence[Tensor]) -> list[Tensor]:
            shared[0].copy_(inputs[0])
            time.sleep(1e-4)  # other threads come in between
            shared[1].copy_(2.0 * shared[0])
            return [shared[1].clone()]

        return replay

    kept = Recordings(record)

    def use(number: int) -> float:
        run = kept.find(number % 3, doubled, lambda: [torch.zeros(1)])
        assert run is not None
        return float(run([torch.tensor([float(number)])])[0])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(use, range(200))) == [2.0 * number for number in range(200)]


def test_only_the_engine_that_compiles_records_and_only_on_a_gpu(small_voice: Path) -> None:
    for engine in ("eager", "compile"):
        steps = Vocoder.from_pretrained(small_voice, engine=engine)._steps  # type: ignore[arg-type]
        assert steps.recordings(steps.require()) is None


@needs_cuda
def test_cuda_that_refuses_to_record_still_speaks(small_voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("no graphs here")

    monkeypatch.setattr(recorded, "CudaGraph", refuse)
    cuda, cpu = compiled(small_voice, "cuda").double(), compiled(small_voice).double()
    expected = cpu.synthesize(some_mel(20), seed=3, lengths=[17])
    assert (cuda.synthesize(some_mel(20), seed=3, lengths=[17]).cpu() - expected).abs().max() < 1e-6
    with pytest.warns(RuntimeWarning, match="cannot be recorded as a CUDA graph"):
        again = cuda.synthesize(some_mel(20), seed=3, lengths=[17])
    assert again.is_cuda and (again.cpu() - expected).abs().max() < 1e-6


@pytest.fixture
def spoken() -> Tensor:
    """The mel (1, 80, F) of a recording: iterations towards one that nobody spoke amplify any rounding."""
    spec = Vocoder.from_pretrained().spec
    return MelFrontEnd(spec)(torch.from_numpy(example()).float())[None]


@needs_cuda
@pytest.mark.parametrize("items", [1, 5])
def test_cuda_graphs_of_whole_syntheses_give_what_the_cpu_gives(items: int, spoken: Tensor) -> None:
    cpu, cuda = Vocoder.from_pretrained(), Vocoder.from_pretrained(None, "cuda", "compile")
    step = cuda._steps.require()
    for frames in (spoken.shape[2], spoken.shape[2] - 3, spoken.shape[2]):
        mel, lengths = spoken[..., :frames].expand(items, -1, -1), [frames - 20 * item for item in range(items)]
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            found = cuda.synthesize(mel, seed=3, lengths=lengths).cpu()
        expected = cpu.synthesize(mel, seed=3, lengths=lengths)
        assert (found - expected).square().sum() < 1e-4 * expected.square().sum()  # 40 dB
    kept = cuda._steps.recordings(step)
    assert kept is not None and len(kept._made) == 1, "the second and the third were replayed"


@needs_cuda
def test_cuda_graphs_of_several_sizes_share_memory_and_streams(spoken: Tensor) -> None:
    """Replayed in another order than recorded, and by threads with streams of their own."""
    cuda = Vocoder.from_pretrained(None, "cuda", "compile")
    parts = [spoken[..., :frames] for frames in (60, 120, 90)]
    expected = [[cuda.synthesize(part, seed=3) for part in parts] for _ in range(2)][1]

    def use(number: int) -> bool:
        with torch.cuda.stream(torch.cuda.Stream()):
            return torch.equal(cuda.synthesize(parts[number % 3], seed=3), expected[number % 3])

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(use, range(30)))
