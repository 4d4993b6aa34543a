"""Every streaming step gives what its layer gives, whatever the chunks. A new step is tested by a line of `CASES`."""

import copy
import dataclasses

import pytest
import torch
from bijection import perturb
from torch import Tensor, nn

from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import AffineCoupling, Coupling
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.elementwise import Shift
from flowvocoder.flows.encoders import MelEncoder, Repeat, SmoothUpsampler, TransposedUpsampler
from flowvocoder.flows.envelope import Envelope
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.multiscale import EarlyOut, Squeeze, Squeezed
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix, swapped_halves
from flowvocoder.flows.rows import RowAutoregression, RowWaveNet
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.scale_coupling import ScaleCoupling
from flowvocoder.flows.separable import SeparableNet
from flowvocoder.flows.spline import Spline
from flowvocoder.flows.streaming import STEPS, NoStreamingStep
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.streaming.flow import FlowStep
from flowvocoder.streaming.graphs import GraphStep
from flowvocoder.streaming.pieces import from_tensor
from flowvocoder.streaming.session import Session

CONTEXT, FRAMES = 3, 23

torch.manual_seed(0)  # for the layers of this file


def spec(hop: int) -> MelSpec:
    return dataclasses.replace(convention("tacotron2"), n_mels=CONTEXT, n_fft=64, win_length=64, hop_length=hop)


def wavenet(channels: int, layers: int = 2, **options: bool) -> WaveNet:
    return WaveNet(channels // 2, channels, CONTEXT, 6, layers, **options)


def pitch(**options: bool) -> PitchPredictor:
    return PitchPredictor(CONTEXT, min_lag=28, max_lag=90, hidden=8, **options)


class EdgedNet(SeparableNet):
    """Not registered: a subclass may compute something else."""


def edged() -> SeparableNet:
    """As imported ones are, whose signal goes on beyond its ends with other values than zero."""
    net = SeparableNet(2, 4, CONTEXT, 6, 3, kernel=5)
    for conv in net.depthwise:
        conv.edge.copy_(torch.randn(6, 1))
    return net


CASES: dict[str, tuple[Bijection, int]] = {  # layer, block
    "activation normalisation": (ActNorm(4), 4),
    "activation normalisation of audio": (Chain([ActNorm(1), LappedTransform(8)]), 8),
    "lu": (PointwiseLU(swapped_halves(4) + 0.1), 4),
    "matrix": (PointwiseMatrix(4), 4),
    "matrix of columns": (Chain([Squeeze(2), PointwiseMatrix(2), Squeeze(3), ActNorm(6), Squeeze(2)]), 12),
    "lapped": (LappedTransform(8), 8),
    "squeeze": (Squeeze(4), 4),
    "squeezed twice": (Chain([Squeeze(2), Squeeze(3)]), 6),
    "scale": (ConditionalScale(Envelope(spec(8), CONTEXT, 8, 5)), 8),
    "causal scale": (ConditionalScale(Envelope(spec(8), CONTEXT, 8, 5, causal=True)), 8),
    "scale coupling": (ScaleCoupling(16, 2, (0,), 1, CONTEXT, 6), 16),
    "causal scale coupling": (ScaleCoupling(16, 2, (1,), 0, CONTEXT, 6, causal=True), 16),
    "coupling": (AffineCoupling(4, wavenet(4, 3)), 4),
    "causal coupling": (AffineCoupling(4, wavenet(4, causal=True), exchange=True), 4),
    "unbounded coupling": (AffineCoupling(4, wavenet(4, 1), bound=None), 4),
    "spline coupling": (Coupling(WaveNet(2, 2 * 8, CONTEXT, 6, 2), Spline(3, 1.0)), 4),
    "additive coupling of uneven halves": (Coupling(WaveNet(2, 3, CONTEXT, 6, 2), Shift()), 5),
    "separable": (AffineCoupling(4, SeparableNet(2, 4, CONTEXT, 6, 2), bound=None), 4),
    "separable with edges": (AffineCoupling(4, edged(), exchange=True), 4),
    "early out": (EarlyOut(2, Chain([PointwiseMatrix(4), AffineCoupling(4, wavenet(4))])), 6),
    "pitch": (Chain([pitch(), Squeeze(48)]), 48),
    "excitation": (Chain([pitch(excitation=True, causal=True), Squeeze(40)]), 40),  # blocks that cut groups in two
    "two pitch predictors": (Chain([pitch(), ActNorm(1), pitch(excitation=True), LappedTransform(32)]), 32),
    "no layer": (Chain([Squeeze(2), Chain([])]), 2),
}

ENCODERS: dict[str, tuple[nn.Module, int, int]] = {  # encoder, channels of its context, hop
    "repeat": (Repeat(2), CONTEXT, 8),
    "transposed": (TransposedUpsampler(spec(8), 19, 4), 4 * CONTEXT, 8),
    "mel": (MelEncoder(spec(8), 5, 2, 2, ahead=2), CONTEXT + 5, 8),
    "mel, a block a frame": (MelEncoder(spec(4), 5, 1, 1, ahead=0), CONTEXT + 5, 4),
}


def streamed(model: FlowVocoder, noise: Tensor, mel: Tensor, sampling: bool, largest: int) -> Tensor:
    """What steps of 1 to `largest` frames give, as blocks side by side."""
    step = FlowStep(model, sampling=sampling)
    session, sizes = Session(step, from_tensor(noise, step.rate)), torch.randint(1, largest + 1, (FRAMES,))
    out, first = [], 0
    for size in sizes.tolist():
        if first < FRAMES:
            out.append(session.push(mel[:, :, first : first + size].transpose(1, 2)))
        first += size
    return torch.cat([*out, session.finish(mel[:, :, :0].transpose(1, 2))], 1)


def assert_same(model: FlowVocoder, items: int = 2) -> None:
    model = copy.deepcopy(model).double().eval()
    perturb(model)
    mel = torch.randn(items, CONTEXT, FRAMES, dtype=torch.float64)
    noise = torch.randn(model.latent_shape(mel), dtype=torch.float64)
    with torch.inference_mode():
        context = model.encoder(mel)
        for sampling, whole in ((True, model.flow.sample), (False, model.flow.inverse)):
            expected = whole(noise, context).transpose(1, 2).flatten(1)
            for largest in (1, 4, FRAMES):
                found = streamed(model, noise, mel, sampling, largest)
                assert found.shape == expected.shape and (found - expected).abs().max() < 1e-9


@pytest.mark.parametrize("name", CASES)
def test_a_step_gives_what_its_layer_gives(name: str) -> None:
    torch.manual_seed(0)
    layer, block = CASES[name]
    assert_same(FlowVocoder(spec(block), Repeat(1), Chain([layer, ActNorm(block)]), block))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoders_step_gives_what_it_gives(name: str) -> None:
    torch.manual_seed(0)
    encoder, context, hop = ENCODERS[name]
    coupling = AffineCoupling(4, WaveNet(2, 4, context, 6, 1))
    assert_same(FlowVocoder(spec(hop), encoder, Chain([Squeeze(4), coupling]), 4))


@pytest.mark.parametrize("name", CASES)
def test_a_traced_step_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As graphs and exports run it: no branch on the position, and a state of zeros at the start."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    torch.manual_seed(0)
    layer, block = CASES[name]
    model = FlowVocoder(spec(block), Repeat(1), Chain([copy.deepcopy(layer), ActNorm(block)]), block).double().eval()
    perturb(model)
    mel = torch.randn(2, CONTEXT, FRAMES, dtype=torch.float64)
    noise, length = torch.randn(model.latent_shape(mel), dtype=torch.float64), torch.tensor([FRAMES, 9])
    traced = GraphStep(model)
    with torch.inference_mode():
        found = []
        for step in (FlowStep(model), traced, traced):  # a size becomes a graph when it comes again
            session = Session(step, from_tensor(noise, 1))
            chunks = [session.push(part, length) for part in mel.transpose(1, 2).split(4, 1)]
            found.append(torch.cat([*chunks, session.finish(mel[:, :, :0].transpose(1, 2), length)], 1))
    assert traced._graphs and (found[2] - found[0]).abs().max() < 1e-9


def test_every_registered_step_is_tested() -> None:
    tested = {type(module) for layer, _ in CASES.values() for module in layer.modules()}
    assert STEPS.keys() <= tested | {type(encoder) for encoder, *_ in ENCODERS.values()}


REFUSED: dict[str, tuple[Bijection, int, str]] = {
    "rows": (RowAutoregression((1, 0), RowWaveNet(CONTEXT, 4, 1)), 2, "RowAutoregression has no streaming step"),
    "squeezed": (Squeezed(2, PointwiseMatrix(2)), 1, "Squeezed has no streaming step"),
    "rectified": (AffineCoupling(4, wavenet(4, rectified=True)), 4, "rectified WaveNet has no streaming step"),
    "subclass": (AffineCoupling(4, EdgedNet(2, 4, CONTEXT, 6, 1)), 4, "EdgedNet has no streaming step"),
    "convolution": (ConditionalScale(nn.Conv1d(CONTEXT, 4, 1)), 4, "Conv1d has no streaming step"),
    "short blocks": (Chain([pitch(), Squeeze(16)]), 16, "no streaming step for blocks under 32 samples"),
    "half blocks": (Chain([LappedTransform(4), Squeeze(2)]), 8, "LappedTransform has no streaming step for 2"),
    "coupling of columns": (
        Chain([Squeeze(2), AffineCoupling(2, WaveNet(1, 2, CONTEXT, 4, 1)), Squeeze(2)]), 4,
        "AffineCoupling has no streaming step for 2 columns a block",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_without_a_step_is_named(name: str) -> None:
    layer, block, message = REFUSED[name]
    with pytest.raises(NoStreamingStep, match=message):
        FlowStep(FlowVocoder(spec(block), Repeat(1), Chain([layer, ActNorm(block)]), block))


def test_an_encoder_without_a_step_is_named() -> None:
    with pytest.raises(NoStreamingStep, match="SmoothUpsampler has no streaming step"):
        FlowStep(FlowVocoder(spec(8), SmoothUpsampler(spec(8), 4), Squeeze(4), 4))
