"""Published checkpoints give the numbers of their reference, and files that would do something else do nothing."""

import math
import os
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command import refused, run
from torch import Tensor, nn

from flowvocoder.errors import CheckpointError
from flowvocoder.flows.separable import EdgePaddedConv
from flowvocoder.interop.published.archive import read_archive
from flowvocoder.interop.published.importer import import_checkpoint
from flowvocoder.interop.published.weights import Weights
from flowvocoder.models.waveflow import WaveFlowConfig
from flowvocoder.vocoder import Vocoder

PARITY = Path(__file__).parents[1] / "data" / "parity"
FIXTURES = sorted(PARITY.glob("*.pt"))


@pytest.fixture(params=FIXTURES, ids=lambda p: p.stem)
def fixture(request: pytest.FixtureRequest) -> Path:
    return request.param


def numbers(fixture: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(fixture.with_suffix(".npz")).items()}


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def test_there_are_four_fixtures() -> None:
    assert len(FIXTURES) == 4


@pytest.mark.slow
def test_fixture_imports_with_the_references_numbers(fixture: Path, tmp_path: Path) -> None:
    assert run("import-checkpoint", fixture, tmp_path / "ours", "--licence", "BSD-3-Clause") == 0
    vocoder = Vocoder.from_pretrained(tmp_path / "ours")
    expected = numbers(fixture)
    mel, audio = expected["mel"], expected["audio"]
    assert vocoder.spec.n_mels == 8 and vocoder.spec.hop_length == 256 and vocoder.spec.sample_rate == 22050
    assert vocoder.card.licence == "BSD-3-Clause" and vocoder.temperature == 0.6
    silent = vocoder.synthesize(mel[:1], temperature=0.0)
    assert relative_error(silent, expected["audio_from_zero_noise"]) < 1e-4
    noise, logdet = vocoder.model.encode(audio, mel)
    assert (vocoder.decode(noise, mel) - audio).abs().max() < 1e-4
    if "z" not in expected:  # the oldest reference cannot go forward
        assert fixture.stem == "waveglow_old_module"
        return
    assert relative_error(noise, expected["z"]) < 1e-4
    theirs = expected["log_s_sum"].sum(0) + expected["log_det_W"].sum() / len(audio)
    assert relative_error(logdet, theirs.float()) < 1e-4
    loss = -float(vocoder.log_prob(audio, mel).mean()) / audio.shape[1]
    # What the reference's loss leaves out is the constant of the normal density.
    assert loss == pytest.approx(float(expected["loss_sigma1"]) + 0.5 * math.log(2 * math.pi), rel=1e-4)


def test_no_module_of_a_checkpoint_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("glow", "glow_old"):  # which a reader that imports would find
        (tmp_path / f"{name}.py").write_text("class WaveGlow: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for path in FIXTURES:
        read_archive(path)
    assert not {"glow", "glow_old"} & set(sys.modules)


def same_audio(path: Path, fixture: Path) -> bool:
    checkpoint, _ = import_checkpoint(path)
    expected = numbers(fixture)
    audio = Vocoder(checkpoint.model).synthesize(expected["mel"][:1], temperature=0.0)
    return relative_error(audio, expected["audio_from_zero_noise"]) < 1e-4


STATE = PARITY / "waveglow_state_dict.pt"


def state_dict() -> dict[str, Tensor]:
    return torch.load(STATE, weights_only=True)["state_dict"]


def without_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = {k: v for k, v in state.items() if not k.endswith(("weight_g", "weight_v"))}
    for name in state:
        if name.endswith("weight_g"):
            layer = name.removesuffix("_g")
            plain[layer] = torch._weight_norm(state[f"{layer}_v"], state[name], 0)
    return plain


def parametrised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    renamed = {}
    for name, value in state.items():
        layer, _, last = name.rpartition(".")
        renamed[f"{layer}.{names.get(last, last)}"] = value
    return renamed


VARIANTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "as it is": lambda s: {"state_dict": s, "epoch": 3},
    "bare": lambda s: s,
    "of a distributed run": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
    "under model": lambda s: {"model": s, "iteration": 3, "learning_rate": 1e-4},
    "without weight norm": without_weight_norm,
    "with parametrisations": parametrised,
    "as parameters": lambda s: {k: nn.Parameter(v) for k, v in s.items()},
    "in double": lambda s: {k: v.double() for k, v in s.items()},
    "as views of one storage": lambda s: dict(
        zip(s, (v.view_as(o) for v, o in zip(torch.cat([v.flatten() for v in s.values()])
            .split([v.numel() for v in s.values()]), s.values(), strict=True)), strict=True)
    ),
    "with an optimiser": lambda s: {
        "state_dict": s,
        "optimizer": {"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "config": {"WN_config": {"n_layers": 4}}, "rng": torch.zeros(4, dtype=torch.uint8),
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "modern"), [*((v, True) for v in VARIANTS), ("as it is", False), ("as views of one storage", False)]
)
def test_state_dicts_in_all_their_forms(variant: str, modern: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(VARIANTS[variant](state_dict()), path, _use_new_zipfile_serialization=modern)
    assert same_audio(path, STATE)


MODULES = [p for p in FIXTURES if p.stem.endswith("module")]


@pytest.mark.slow
@pytest.mark.parametrize("fixture", MODULES, ids=lambda p: p.stem)
def test_pickled_modules_in_the_format_of_their_time(
    fixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published weights are streams of pickles, with the classes' source code beside them."""
    for name in ("glow", "glow_old"):
        module = types.ModuleType(name)
        for kind in ("WaveGlow", "SqueezeWave", "WN", "Invertible1x1Conv", "Upsample1d"):
            setattr(module, kind, type(kind, (nn.Module,), {"__module__": name}))
        monkeypatch.setitem(sys.modules, name, module)
    content = torch.load(fixture, weights_only=False)
    backend = types.ModuleType("torch.nn.backends.thnn")
    exec("def _get_thnn_function_backend(): pass", backend.__dict__)
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    monkeypatch.setitem(sys.modules, "torch.nn.backends", types.ModuleType("torch.nn.backends"))
    for module in content["model"].modules():
        module._backend = Runs(backend._get_thnn_function_backend)  # as up to PyTorch 1.2
    content["model"].convinv[0].W_inverse = torch.zeros(1)  # what `infer` leaves there
    with pytest.warns(UserWarning, match="source"):
        torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert same_audio(tmp_path / "x.pt", fixture)


def waveflow_state(channels: int, layers: int, flows: int, n_mels: int) -> dict[str, Tensor]:
    """Random weights in the layout of L0SG/WaveFlow."""
    torch.manual_seed(0)

    def normalised(layer: str, *shape: int) -> dict[str, Tensor]:
        bias = shape[1] if layer.startswith("upsample") else shape[0]
        g = 0.3 + torch.rand(shape[0], *[1] * (len(shape) - 1))
        return {f"{layer}.weight_g": g, f"{layer}.weight_v": torch.randn(shape), f"{layer}.bias": torch.randn(bias) / 9}

    state = {}
    for index in (0, 2):
        state |= normalised(f"upsample_conv.{index}", 1, 1, 3, 32)
    for flow in range(flows):
        coupling = f"flows.{flow}.coupling"
        state |= normalised(f"{coupling}.net.front_conv.0.conv", channels, 1, 1, 1)
        for i in range(layers):
            block = f"{coupling}.net.res_blocks.{i}"
            state |= normalised(f"{block}.filter_gate_conv.conv", 2 * channels, channels, 3, 3)
            state |= normalised(f"{block}.filter_gate_conv_c", 2 * channels, n_mels, 1, 1)
            state |= normalised(f"{block}.res_skip_conv", 2 * channels, channels, 1, 1)
        state[f"{coupling}.proj_log_s_t.conv.weight"] = torch.randn(2, channels, 1, 1) / 9
        state[f"{coupling}.proj_log_s_t.conv.bias"] = torch.randn(2) / 9
    return state


def waveflow_by_hand(state: dict[str, Tensor], audio: Tensor, mel: Tensor, bipartite: bool) -> tuple[Tensor, Tensor]:
    """Noise in the rows' original order and log-det, from the weights and the paper: rows move, nothing is cached."""
    weight = without_weight_norm(state)

    def convolve(x: Tensor, layer: str, **options: Any) -> Tensor:
        return F.conv2d(x, weight[f"{layer}.weight"], weight[f"{layer}.bias"], **options)

    c = mel[:, None]
    for index in (0, 2):
        name = f"upsample_conv.{index}"
        up = F.conv_transpose2d(c, weight[f"{name}.weight"], weight[f"{name}.bias"], (1, 16), (1, 8))
        c = F.leaky_relu(up, 0.4)
    c = c[:, 0].reshape(*mel.shape[:2], -1, 16).transpose(2, 3)
    x = audio.reshape(len(audio), 1, -1, 16).transpose(2, 3)
    logdet = torch.zeros(len(audio))
    flows = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("flows."))
    where = list(range(16))
    for flow in range(flows):
        net = f"flows.{flow}.coupling.net"
        h, skips = convolve(x[:, :, :-1], f"{net}.front_conv.0.conv"), []
        for i in range(3):
            block = f"{net}.res_blocks.{i}"
            causal = F.pad(h, (2**i, 2**i, 2, 0))
            gates = convolve(causal, f"{block}.filter_gate_conv.conv", dilation=(1, 2**i))
            gates = gates + convolve(c[:, :, 1:], f"{block}.filter_gate_conv_c")
            a, b = gates.chunk(2, 1)
            residual, skip = convolve(a.tanh() * b.sigmoid(), f"{block}.res_skip_conv").chunk(2, 1)
            h = h + residual
            skips.append(skip)
        log_s, t = convolve(sum(skips), f"flows.{flow}.coupling.proj_log_s_t.conv").chunk(2, 1)
        x = torch.cat([x[:, :, :1], x[:, :, 1:] * log_s.exp() + t], 2)
        logdet = logdet + log_s.sum((1, 2, 3))
        move = [*range(7, -1, -1), *range(15, 7, -1)] if bipartite and flow >= flows // 2 else [*range(15, -1, -1)]
        x, c, where = x[:, :, move], c[:, :, move], [where[row] for row in move]
    return x[:, 0, torch.tensor(where).argsort()], logdet


@pytest.mark.slow
@pytest.mark.parametrize("bipartite", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_waveflow_has_the_numbers_of_its_layout(
    bipartite: bool, fused: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = waveflow_state(channels=6, layers=3, flows=4, n_mels=5)
    audio, mel = 0.1 * torch.randn(2, 3 * 256), torch.randn(2, 5, 3)
    expected, logdet = waveflow_by_hand(state, audio, mel, bipartite)
    if fused:  # as the reference stores a model made ready for synthesis
        state = without_weight_norm(state)
        for flow in range(4):
            for part in ("weight", "bias"):
                blocks = [f"flows.{flow}.coupling.net.res_blocks.{i}.filter_gate_conv_c.{part}" for i in range(3)]
                whole = torch.cat([state.pop(block) for block in blocks])
                state[f"flows.{flow}.coupling.net.fused_filter_gate_conv_c.{part}"] = whole
    torch.save({"model": state, "iteration": 7}, tmp_path / "x.pt")
    settings = [] if bipartite else ["--set", "model.bipartite=false"]
    assert run("import-checkpoint", tmp_path / "x.pt", tmp_path / "ours", *settings) == 0
    assert "assumed 16 rows, bipartite order" in capsys.readouterr().err
    vocoder = Vocoder.from_pretrained(tmp_path / "ours")
    noise, ours = vocoder.model.encode(audio, mel)
    assert relative_error(noise, expected) < 1e-4 and relative_error(ours, logdet) < 1e-4
    assert (vocoder.decode(noise, mel) - audio).abs().max() < 1e-3  # random weights stretch a lot
    assert vocoder.synthesize(mel, temperature=0.0, trust_mel=True).shape == (2, 3 * 256)


def test_batch_norm_that_is_folded_away_already(tmp_path: Path) -> None:
    """As SqueezeWave's own export makes it: only depthwise and pointwise convolutions are left."""
    fixture = PARITY / "squeezewave_module.pt"
    weights = Weights(fixture, *read_archive(fixture))
    folded = {}
    for name in list(weights.records):
        value = weights.take(name)
        wn, inside, rest = name.partition(".in_layers.")
        if inside:
            layer, part, what = rest.split(".")
            if part == "0":
                continue
            name = f"{wn}.in_layers.{layer}.{int(part) - 1}.{what}"
        folded[name] = value
    torch.save(folded, tmp_path / "x.pt")
    checkpoint, layout = import_checkpoint(tmp_path / "x.pt")
    assert layout.name == "SqueezeWave"
    first = next(m for m in checkpoint.model.modules() if isinstance(m, EdgePaddedConv))
    assert torch.equal(first.weight, folded["WN.0.in_layers.0.0.weight"]) and not first.edge.any()


class Runs:
    """A pickle of this calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class SetsState:
    """A pickle of this runs `__setstate__` where it is loaded as usual."""

    marker = ""

    def __getstate__(self) -> dict[str, str]:
        return {"marker": self.marker}

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["marker"]).touch()


def nested(levels: int, width: int = 10) -> list[Any]:
    """`levels` lists within each other, each of which holds the next one `width` times."""
    value: Any = 0
    for _ in range(levels):
        value = [value] * width
    return value


def zipped(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, data: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/data/0", data)


def overlapping(path: Path) -> None:
    """A thousand entries that are all the same bytes of the file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2))
        archive.writestr("x/data/0", bytes(100_000))
        for index in range(1, 1000):
            again = zipfile.ZipInfo(f"x/data/{index}")
            first = archive.getinfo("x/data/0")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size, again.compress_size = first.file_size, first.compress_size
            archive.filelist.append(again)


def tensor_call(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of a dict with one tensor of this size in a storage of one element."""

    def number(n: int) -> bytes:
        return pickle.dumps(n, 2)[2:-1]

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number(1) + b"tQ"
    )
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + numbers(size) + numbers(stride) + b"\x89Ntr"
    return b"\x80\x02}X\x01\x00\x00\x00a" + call.replace(b"tr", b"tR") + b"s."


def copied(function: bytes) -> bytes:
    """A list of ten thousand numbers, and a thousand calls of the function with it."""
    numbers = b"](" + b"".join(b"M" + struct.pack("<H", n) for n in range(10_000)) + b"e"
    return b"\x80\x02" + numbers + b"q\1]" + (function + b"h\1\x85Ra") * 1000 + b"."


def states() -> bytes:
    """The same for a dict and objects."""
    items = b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(10_000))
    return b"\x80\x02}(" + items + b"uq\1]" + b"cglow\nWaveGlow\n)\x81h\1ba" * 1000 + b"."


def misnamed(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2))
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\1\2")
    data[at + 9] |= 8  # the flag of UTF-8
    data[at + 46] = 0xFF
    path.write_bytes(data)


def shared(channels: int = 256, flows: int = 24, layers: int = 8) -> dict[str, Tensor]:
    """A WaveGlow whose layers are all views of one storage."""
    one = torch.zeros(2 * channels * channels * 3)

    def view(*size: int) -> Tensor:
        return one[: math.prod(size)].view(size)

    state = {"upsample.weight": view(8, 8, 256), "upsample.bias": view(8)}
    for flow in range(flows):
        state[f"convinv.{flow}.conv.weight"] = view(8, 8, 1)
        sizes = {"start": (channels, 4, 1), "end": (8, channels, 1), "cond_layer": (2 * channels * layers, 64, 1)}
        for layer in range(layers):
            sizes[f"in_layers.{layer}"] = (2 * channels, channels, 3)
            sizes[f"res_skip_layers.{layer}"] = (2 * channels if layer < layers - 1 else channels, channels, 1)
        for name, size in sizes.items():
            state[f"WN.{flow}.{name}.weight"] = view(*size)
            state[f"WN.{flow}.{name}.bias"] = view(size[0])
    return state


def empty() -> dict[str, Tensor]:
    """A WaveGlow of very many layers that are all empty but the first."""
    state = {"upsample.weight": torch.zeros(8, 8, 256), "upsample.bias": torch.zeros(0)}
    for flow in range(256):
        state[f"convinv.{flow}.conv.weight"] = torch.zeros(8, 0, 1)
        state[f"WN.{flow}.end.weight"] = torch.zeros(0)
        for layer in range(16):
            state[f"WN.{flow}.in_layers.{layer}.weight"] = torch.zeros(0)
    state["WN.0.in_layers.0.weight"] = torch.zeros(512, 256, 3)
    state["WN.0.cond_layer.weight"] = torch.zeros(0)
    return state


def truncated(path: Path, modern: bool, part: float) -> None:
    torch.save({"state_dict": state_dict()}, path, _use_new_zipfile_serialization=modern)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


DO = "touch {marker}"
MALICIOUS: dict[str, tuple[Callable[[Path, str], object], str]] = {
    "a bare pickle that runs a command": (
        lambda p, do: p.write_bytes(pickle.dumps(Runs(os.system, do), 2)), r"asks for (posix|nt)\.system"),
    "a newer pickle that runs a command": (
        lambda p, do: p.write_bytes(pickle.dumps(Runs(os.system, do), 4)), r"asks for (posix|nt)\.system"),
    "a zip that runs a command": (
        lambda p, do: torch.save({"model": Runs(os.system, do)}, p), r"asks for (posix|nt)\.system"),
    "a stream that runs a command": (
        lambda p, do: torch.save({"model": Runs(os.system, do)}, p, _use_new_zipfile_serialization=False),
        r"asks for (posix|nt)\.system"),
    "eval": (lambda p, do: torch.save(Runs(eval, f"__import__('os').system({do!r})"), p), r"asks for builtins\.eval"),
    "exec": (lambda p, do: torch.save(Runs(exec, f"import os; os.system({do!r})"), p), r"asks for builtins\.exec"),
    "getattr": (lambda p, do: torch.save(Runs(getattr, "x", "upper"), p), r"asks for builtins\.getattr"),
    "a builtin that is only named": (lambda p, do: torch.save({"x": print}, p), r"asks for builtins\.print"),
    "subprocess": (lambda p, do: torch.save(Runs(subprocess.call, do), p), r"asks for (subprocess|commands)\.call"),
    "a function of PyTorch": (lambda p, do: torch.save(Runs(torch.load, "x"), p), r"asks for torch\.serial"),
    "a class that is called": (
        lambda p, do: zipped(p, b"\x80\x02cglow\nWaveGlow\n(X\x01\x00\x00\x00xtR."), r"asks for glow\.WaveGlow"),
    "the opcode INST": (
        lambda p, do: zipped(p, b"\x80\x02(X\x02\x00\x00\x00lsios\nsystem\n."), "uses the pickle operation INST"),
    "the opcode OBJ": (lambda p, do: zipped(p, b"\x80\x02(cos\nsystem\no."), r"asks for os\.system"),
    "an object with __setstate__": (
        lambda p, do: torch.save({"model": SetsState()}, p), "no known layout|no WaveGlow"),
    "ten levels of containers": (
        lambda p, do: torch.save({"model": nested(9)}, p), "containers nested 10 deep"),
    "ten levels in a stream": (
        lambda p, do: torch.save(nested(10), p, _use_new_zipfile_serialization=False), "containers nested 10 deep"),
    "a list that holds itself": (lambda p, do: zipped(p, b"\x80\x02]q\x00h\x00a."), "containers nested 10 deep"),
    "a hundred thousand tuples as a key": (
        lambda p, do: zipped(p, b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s."), "tuple as a key"),
    "a zip bomb": (
        lambda p, do: zipped(p, pickle.dumps({}, 2), zipfile.ZIP_DEFLATED, bytes(50_000_000)), "unpacks to 500000"),
    "a zip bomb without compression": (lambda p, do: overlapping(p), "unpacks to 10000000"),
    "a tensor larger than its storage": (
        lambda p, do: zipped(p, tensor_call((2**40,), (0,)), data=bytes(4)), "elements in a storage of 1"),
    "a tensor outside its storage": (
        lambda p, do: zipped(p, tensor_call((1, 1), (2**40, 1))[:-1] + b".", data=bytes(2)), "truncated"),
    "lists in the place of a storage's size": (
        lambda p, do: zipped(p, b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000N"
                                + b"]" + b"(]" * 5000 + b"e" * 5000 + b"tQ."), "no sensible size"),
    "a name that is a list": (lambda p, do: zipped(p, b"\x80\x04]]\x93."), "a name that is no text"),
    "a huge place in the memo": (
        lambda p, do: zipped(p, b"\x80\x02}r\xff\xff\xff\x7f."), "no known layout|no WaveGlow"),
    "a huge string": (lambda p, do: zipped(p, b"\x80\x02X\xff\xff\xff\x7fabc."), "truncated"),
    "a truncated zip": (lambda p, do: truncated(p, True, 0.5), "truncated"),
    "a truncated stream": (lambda p, do: truncated(p, False, 0.5), "truncated"),
    "a stream without its last bytes": (lambda p, do: truncated(p, False, 0.9999), "truncated"),
    "a stream cut in its first pickle": (lambda p, do: truncated(p, False, 0.00001), "truncated"),
    "one list copied many times": (
        lambda p, do: zipped(p, copied(b"ctorch\nSize\n")), "copies more than 1000000 items"),
    "one list as many sets": (
        lambda p, do: zipped(p, copied(b"c__builtin__\nset\n")), "copies more than 1000000 items"),
    "one dict as the state of many objects": (lambda p, do: zipped(p, states()), "copies more than 1000000 items"),
    "a name of many letters": (
        lambda p, do: zipped(p, b"\x80\x04X\x88\x13\0\0" + b"a" * 5000 + b"X\1\0\0\0b\x93."), "a long one"),
    "a name that is no text": (lambda p, do: zipped(p, b"\x80\x02c\xff\nx\n."), "truncated or not a checkpoint"),
    "an archive with names that are no text": (lambda p, do: misnamed(p), "damaged|no data.pkl"),
    "weights of another number of axes": (
        lambda p, do: torch.save({**state_dict(), "upsample.weight": torch.zeros(3)}, p), "layout that is not known"),
    "weights of no axes": (
        lambda p, do: torch.save({**state_dict(), "WN.0.in_layers.0.weight_v": torch.tensor(1.0)}, p),
        "layout that is not known"),
    "many layers of one storage": (lambda p, do: torch.save(shared(), p), "fewer numbers than the model"),
    "many empty layers": (lambda p, do: torch.save(empty(), p), "fewer numbers than the model|irregular"),
    "an empty file": (lambda p, do: p.write_bytes(b""), "neither a zip archive nor a pickle"),
    "a text": (lambda p, do: p.write_text("hello"), "neither a zip archive nor a pickle"),
    "a zip of something else": (
        lambda p, do: zipfile.ZipFile(p, "w").writestr("a.txt", "hello"), "truncated|no data.pkl"),
    "a number": (lambda p, do: p.write_bytes(pickle.dumps(3, 2)), "not a checkpoint of PyTorch"),
    "a folder": (lambda p, do: p.mkdir(), "cannot be read"),
    "nothing": (lambda p, do: None, "no such file"),
    "another model": (lambda p, do: torch.save(nn.Linear(2, 2).state_dict(), p), "no WaveGlow, Squeeze"),
    "a weight that is missing": (
        lambda p, do: torch.save({k: v for k, v in state_dict().items() if k != "WN.3.end.bias"}, p), "lacks WN.3.end"),
    "a weight too many": (
        lambda p, do: torch.save({**state_dict(), "speaker.weight": torch.zeros(2)}, p), "speaker.weight"),
    "a weight of another shape": (
        lambda p, do: torch.save({**state_dict(), "WN.3.end.bias": torch.zeros(2)}, p), "WN.3.end is"),
    "a weight that is NaN": (
        lambda p, do: torch.save({**state_dict(), "upsample.bias": torch.full((8,), math.nan)}, p), "not finite"),
}  # fmt: skip


COSTLY = {"one list as many sets", "many empty layers", "a hundred thousand tuples as a key"}  # seconds


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c in COSTLY)) for c in MALICIOUS])
def test_file_is_refused_and_nothing_runs(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, message = MALICIOUS[case]
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    monkeypatch.setattr(SetsState, "marker", str(marker))
    make(path, DO.format(marker=marker))
    line = refused(capsys, "import-checkpoint", path, tmp_path / "out")
    assert str(path) in line
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(path)
    assert not marker.exists(), "the file's command was run"
    assert not (tmp_path / "out").exists()


def test_the_command_in_the_malicious_file_does_work(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pt"
    torch.save({"model": Runs(os.system, DO.format(marker=marker))}, path)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_output_is_not_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    assert "--force" in refused(capsys, "import-checkpoint", STATE, tmp_path / "out")
    assert run("import-checkpoint", STATE, tmp_path / "out", "--force") == 0


def test_settings_that_do_not_fit_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "import-checkpoint", STATE, tmp_path / "out", "--set", "model.channels=32")
    assert "WN.0.start is (16, 4, 1), expected (32, 4, 1)" in line
    assert "unknown key" in refused(capsys, "import-checkpoint", STATE, tmp_path / "out", "--set", "model.rows=8")


def test_orders_without_bipartition_are_all_reversals() -> None:
    assert {tuple(o) for o in WaveFlowConfig(bipartite=False).row_orders()} == {
        tuple(range(16)), tuple(range(15, -1, -1))
    }  # fmt: skip


def test_stream_with_a_false_length(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(struct.pack("<q", 3) + bytes(12)) == 1
    path.write_bytes(data.replace(struct.pack("<q", 3) + bytes(12), struct.pack("<q", 2**40) + bytes(12)))
    with pytest.raises(CheckpointError, match="truncated"):
        read_archive(path)
