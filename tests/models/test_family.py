"""The WaveGlow family: its layers, its models, its published sizes."""

import dataclasses
import functools
import json
from pathlib import Path

import pytest
import soundfile as sf
import torch
from bijection import FlowOnly, assert_bijection, perturb
from command import run
from helpers import speech_like
from tiny_models import ONE_EACH, TINY, tiny
from torch.utils.flop_counter import FlopCounterMode

from flowvocoder.checkpoint import Checkpoint, build_model, load_checkpoint, save_checkpoint
from flowvocoder.config import override
from flowvocoder.errors import ConfigError
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.multiscale import EarlyOut, Squeeze, Squeezed
from flowvocoder.flows.pointwise import PointwiseMatrix
from flowvocoder.flows.rows import RowAutoregression, RowWaveNet
from flowvocoder.flows.separable import SeparableNet
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.models.registry import ARCHITECTURES
from flowvocoder.models.waveflow import WaveFlowConfig
from flowvocoder.presets import preset
from flowvocoder.training.trainer import recompute_activations
from flowvocoder.vocoder import Vocoder

CONTEXT = 3
ROWS = (2, 0, 3, 1)

LAYERS: dict[str, tuple[Bijection, int, int, int, int, bool]] = {  # layer, channels, length, context, blocks, uses it
    "squeeze": (Squeeze(4), 1, 24, CONTEXT, 6, False),
    "squeeze of channels": (Squeeze(2), 3, 8, CONTEXT, 4, False),
    "squeezed": (Squeezed(2, AffineCoupling(4, WaveNet(2, 4, 2 * CONTEXT, 4, 2), None)), 2, 12, CONTEXT, 12, True),
    "early out": (EarlyOut(2, PointwiseMatrix(4)), 6, 5, CONTEXT, 5, False),
    "two scales": (
        Squeezed(2, Chain([PointwiseMatrix(2), EarlyOut(1, Squeezed(2, PointwiseMatrix(2)))])),
        1, 16, CONTEXT, 16, False,
    ),
    "activation normalisation": (ActNorm(3), 3, 6, CONTEXT, 6, False),
    "unbounded coupling": (AffineCoupling(4, WaveNet(2, 4, CONTEXT, 4, 2), None), 4, 6, CONTEXT, 6, True),
    "exchanged coupling": (AffineCoupling(4, WaveNet(2, 4, CONTEXT, 4, 2), exchange=True), 4, 6, CONTEXT, 6, True),
    "rectified": (AffineCoupling(4, WaveNet(2, 4, CONTEXT, 8, 2, rectified=True), None), 4, 6, CONTEXT, 6, True),
    "separable": (AffineCoupling(4, SeparableNet(2, 4, CONTEXT, 4, 2), None), 4, 6, CONTEXT, 6, True),
    "rows": (RowAutoregression(ROWS, RowWaveNet(CONTEXT, 4, 2)), 4, 6, 4 * CONTEXT, 6, True),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_a_bijection(name: str) -> None:
    torch.manual_seed(0)
    layer, channels, length, context, blocks, conditional = LAYERS[name]
    assert_bijection(layer, channels, length, context, blocks, conditional)


def test_every_architecture_is_tested() -> None:
    assert set(ONE_EACH) == set(ARCHITECTURES) - {"lapglow"}  # lapglow has tests of its own


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_model_is_a_bijection(name: str) -> None:
    assert_bijection(FlowOnly(tiny(name)), 1, 256, 8, 1, scale=0.1, local=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_encode_then_decode_gives_the_audio_back(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny(name).eval()
    perturb(model, 0.02)
    vocoder = Vocoder(model.to(dtype))
    audio = torch.from_numpy(speech_like(1.0, 22050)).to(dtype)
    noise, mel = vocoder.encode(audio)
    assert noise.shape == model.latent_shape(mel) and (noise.flatten()[: len(audio)] - audio).abs().max() > 0.01
    assert (vocoder.decode(noise, mel)[0, : len(audio)] - audio).abs().max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("waveglow-256", ["model.group=10", "model.flows=2"]),
        ("squeezewave-128-128", ["model.group=60", "model.flows=2"]),
        ("waveflow-64", ["model.rows=12", "model.flows=2"]),
        ("flowavenet", ["model.blocks=2", "model.flows=2"]),
    ],
)
def test_other_hops_than_256(name: str, settings: list[str]) -> None:
    experiment = override(preset(name), ["mel.hop_length=300", "model.channels=8", "model.layers=1", *settings])
    model = build_model(experiment).eval().double()
    perturb(model, 0.02)
    vocoder = Vocoder(model)
    audio = torch.from_numpy(speech_like(0.5, 22050)).double()
    noise, mel = vocoder.encode(audio)
    assert (vocoder.decode(noise, mel)[0, : len(audio)] - audio).abs().max() < 1e-9


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_EACH)
def test_training_raises_the_likelihood(name: str) -> None:
    model = tiny(name).train()
    audio = torch.from_numpy(speech_like(1.0, 22050))[: 64 * 256].view(2, -1)
    mel = MelFrontEnd(model.spec)(audio)[..., :32]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    nats = []
    for _ in range(20):
        loss = -model.log_prob(audio, mel).mean() / audio.shape[1]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        nats.append(-float(loss.detach()))
    assert nats[-1] > nats[1] + 0.15, nats


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("waveglow-256", "87.7"),
        ("waveglow-512", "268.0"),
        ("squeezewave-128-128", "7.1"),
        ("squeezewave-256-128", "7.9"),
        ("squeezewave-128-256", "23.5"),
        ("squeezewave-256-256", "24.6"),
        ("waveflow-64", "5.9"),
        ("waveflow-128", "22.2"),
        ("flowavenet", "179.2"),
    ],
)
def test_presets_have_the_published_sizes(name: str, millions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/reference/family.md says how they are counted."""
    monkeypatch.setattr(torch.nn.Conv1d, "reset_parameters", lambda layer: None)  # takes long even so
    with torch.device("meta"):
        model = build_model(preset(name))
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}" == millions


def inverse_without_state(layer: RowAutoregression, z: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """The inverse by its definition: each row from all rows before it, computed anew."""
    rows, context = layer._in_order(z, context)
    done = rows[:, :1]
    for row in range(1, rows.shape[1]):
        s, t = layer._scale_and_shift(done, context[:, :, : row + 1])
        done = torch.cat([done, (rows[:, row : row + 1] - t[:, -1:]) * (-s[:, -1:]).exp()], 1)
    return done[:, layer.undo]


def test_waveflow_inverse_with_state_is_the_one_without() -> None:
    layer = RowAutoregression(WaveFlowConfig().row_orders()[-1], RowWaveNet(4, 8, 3)).double()
    perturb(layer)
    z = torch.randn(2, 16, 30, dtype=torch.float64)
    context = torch.randn(2, 64, 30, dtype=torch.float64)
    with torch.no_grad():
        fast, slow = layer.inverse(z, context), inverse_without_state(layer, z, context)
    assert (fast - slow).abs().max() < 1e-12 and (fast - z).abs().max() > 0.1


@pytest.mark.slow
def test_the_state_saves_work() -> None:
    """The ratio of the work, which no other program on the machine can change: 8 for 16 rows."""
    layer = RowAutoregression(range(16), RowWaveNet(4, 8, 8))
    work = []
    for inverse in (layer.inverse, functools.partial(inverse_without_state, layer)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            inverse(torch.randn(1, 16, 20), torch.randn(1, 64, 20))
        work.append(counter.get_total_flops())
    assert work[1] / work[0] > 5.0


def test_rows_may_come_a_few_at_a_time() -> None:
    net = RowWaveNet(4, 8, 3).double()
    perturb(net)
    x, context = torch.randn(1, 1, 7, 20, dtype=torch.float64), torch.randn(1, 4, 7, 20, dtype=torch.float64)
    state = net.before_the_first_row(x)
    whole, _ = net(x, context, state)
    parts = []
    for first, end in ((0, 1), (1, 4), (4, 7)):
        out, state = net(x[:, :, first:end], context[:, :, first:end], state)
        parts.append(out)
    assert torch.allclose(torch.cat(parts, 2), whole, atol=1e-12)


def test_waveflow_orders_are_the_papers() -> None:
    reversed_each_time = WaveFlowConfig(rows=4, flows=3, bipartite=False).row_orders()
    assert reversed_each_time == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    assert WaveFlowConfig(rows=4, flows=4).row_orders() == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2]]


@pytest.mark.parametrize("name", ONE_EACH)
def test_backpropagation_through_inverses_gives_the_same_gradients(name: str) -> None:
    model = tiny(name).double()
    perturb(model, 0.02)
    audio, mel = 0.1 * torch.randn(2, 1024, dtype=torch.float64), torch.randn(2, 8, 4, dtype=torch.float64)
    model.log_prob(audio, mel)  # what starts from the first batch has started
    gradients = []
    for recompute in (False, True):
        recompute_activations(model, recompute)
        model.zero_grad()
        model.log_prob(audio, mel).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == len(list(model.parameters()))
    for stored, recomputed in zip(*gradients, strict=True):
        assert (stored - recomputed).abs().max() < 1e-7 * stored.abs().max()


def test_activation_normalisation_starts_from_the_first_batch() -> None:
    layer = ActNorm(3)
    x = torch.tensor([5.0, -1.0, 0.3])[:, None] + torch.tensor([2.0, 0.1, 30.0])[:, None] * torch.randn(4, 3, 200)
    z, _ = layer(x, x)
    assert z.mean((0, 2)).abs().max() < 1e-4 and (z.std((0, 2)) - 1).abs().max() < 0.01
    fresh = ActNorm(3)
    fresh.load_state_dict(layer.state_dict())
    fresh(100.0 * x, x)  # other data must not start it again
    assert torch.equal(fresh(x, x)[0], z)


@pytest.mark.parametrize("name", TINY)
def test_checkpoint_round_trip(name: str, tmp_path: Path) -> None:
    model = tiny(name)
    perturb(model)
    experiment = dataclasses.replace(preset("waveglow-256"), model=TINY[name], mel=model.spec)
    save_checkpoint(tmp_path / "a", Checkpoint(model, experiment))
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.experiment == experiment
    mel = torch.full((1, 8, 3), -4.0)
    noise = torch.randn(model.latent_shape(mel))
    assert torch.equal(loaded.model.decode(noise, mel), model.eval().decode(noise, mel))


@pytest.mark.slow
@pytest.mark.parametrize("preset_name", [pytest.param("squeezewave-128-128", marks=pytest.mark.thorough), "flowavenet"])
def test_every_command_knows_the_family(
    preset_name: str, corpus: Path, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    sizes = ["model.channels=8", "model.layers=1", "model.flows=2"]
    sizes += ["model.blocks=2"] if preset_name == "flowavenet" else ["model.early_size=2"]
    command = ["train", "--preset", preset_name, "--corpus", corpus, "--out", out]
    for setting in (*sizes, "batch=2", "segment=4096", "validate_every=2", "save_every=2"):
        command += ["--set", setting]
    assert run(*command, "--set", "steps=2") == 0 and run(*command, "--set", "steps=4", "--resume") == 0
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert max(steps) == 4
    checkpoint = ("--checkpoint", out / "checkpoint")
    assert run("resynth", wav, tmp_path / "r.wav", *checkpoint, "--denoise", 0.1) == 0
    assert run("encode", wav, tmp_path / "z.npz", *checkpoint) == 0
    assert run("decode", tmp_path / "z.npz", tmp_path / "b.wav", *checkpoint) == 0
    original, back = (sf.read(p, dtype="int16")[0].astype(int) for p in (wav, tmp_path / "b.wav"))
    assert abs(original - back).max() <= 2
    assert run("score", wav, *checkpoint) == 0 and run("info", out / "checkpoint") == 0
    assert preset_name.split("-")[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("waveglow-256", "model.group=6", "group 6 must go into mel.hop_length 256"),
        ("waveglow-256", "model.early_size=4", "leave at least 2 channels to the last of 3 stages, not 0"),
        ("waveglow-256", "model.window=100", "window 100 must be at least mel.hop_length 256"),
        ("waveglow-256", "model.kernel=4", "kernel must be odd"),
        ("waveglow-256", "model.block=64", "unknown key 'model.block'"),
        ("squeezewave-128-128", "model.window=100", "unknown key 'model.window'"),
        ("waveflow-64", "model.rows=12", "rows 12 must go into"),
        ("flowavenet", "model.blocks=9", "must be a multiple of 512"),
        ("flowavenet", "mel.n_mels=79", "n_mels must be even"),
    ],
)
def test_sizes_that_cannot_work_are_refused(name: str, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(preset(name), [setting])
