"""Any legal chain of the project's bijections works in `Vocoder`, in any order and with any conditioner.

Chains are drawn from a seed. One whose layers all have a streaming step streams, what it streams is what it
synthesises, and any other says in one sentence which layer keeps it from streaming.
"""

import dataclasses
import random
import re

import pytest
import torch
from bijection import perturb
from tiny_models import TINY, tiny
from torch import nn

from flowvocoder.errors import ConfigError
from flowvocoder.flows.actnorm import ActNorm
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.flows.encoders import MelEncoder
from flowvocoder.flows.envelope import Envelope
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.multiscale import EarlyOut, Squeeze
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix, even_odd
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.scale_coupling import scale_couplings
from flowvocoder.flows.separable import SeparableNet
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.spec import convention
from flowvocoder.units import HIGHEST
from flowvocoder.vocoder import Vocoder

SPEC = dataclasses.replace(convention("tacotron2"), n_mels=8)
BLOCK, CONTEXT, FRAMES = 64, SPEC.n_mels + 8, 24
SEEDS = range(14)

WHOLE_MELS_ONLY = {"waveflow", "waveflow, reversed", "flowavenet"}
"""Architectures that have a layer without a streaming step."""


class Draw:
    """A chain, drawn from a seed.

    Attributes:
        streams: whether every part of it has a streaming step.
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self.streams = True
        torch.manual_seed(seed)
        body = [part for kind in self._some(6) for part in kind()]
        self.chain = Chain([*self._audio_layers(), *self._transform(), *body])

    def model(self) -> FlowVocoder:
        encoder = MelEncoder(SPEC, 8, 1, SPEC.hop_length // BLOCK, ahead=self._random.randrange(3))
        model = FlowVocoder(SPEC, encoder, self.chain, BLOCK).double()
        perturb(model, 0.03)
        return model

    def _yes(self) -> bool:
        return self._random.random() < 0.5

    def _some(self, count: int) -> list:
        kinds = [self._coupling, self._coupling, self._coupling, self._scale, self._levels, self._norm, self._early]
        return self._random.sample(kinds, count)

    def _audio_layers(self) -> list[Bijection]:
        pitch = PitchPredictor(CONTEXT, 44, 200, 8, self._yes(), self._random.randint(1, 4), excitation=self._yes())
        layers: list[Bijection] = [ActNorm(1)] * self._yes() + [pitch] * (self._random.random() < 0.7)
        self._random.shuffle(layers)
        return layers

    def _transform(self) -> list[Bijection]:
        squeezes: list[Bijection] = [Squeeze(2), ActNorm(2), PointwiseMatrix(2), Squeeze(BLOCK // 2)]
        return self._random.choice([[LappedTransform(BLOCK)], [LappedTransform(BLOCK)], squeezes])

    def _coupling(self, channels: int = BLOCK) -> list[Bijection]:
        half = channels // 2
        rectified = self._random.random() < 0.1
        nets = [
            WaveNet(half, channels, CONTEXT, 8, self._random.randint(1, 3), causal=self._yes(), rectified=rectified),
            SeparableNet(half, channels, CONTEXT, 8, self._random.randint(1, 2)),
        ]
        net: nn.Module = self._random.choice(nets)
        self.streams &= not (rectified and isinstance(net, WaveNet))
        mixing = self._random.choice([PointwiseMatrix(channels), PointwiseLU(even_odd(channels)), None])
        bound = self._random.choice([None, 2.0])
        coupling = AffineCoupling(channels, net, bound, exchange=self._yes())
        return [coupling] if mixing is None else [mixing, coupling]

    def _scale(self) -> list[Bijection]:
        if self._random.random() < 0.15:
            self.streams = False
            return [ConditionalScale(nn.Conv1d(CONTEXT, BLOCK, 3, padding=1))]
        return [ConditionalScale(Envelope(SPEC, CONTEXT, BLOCK, 8, self._yes()))]

    def _levels(self) -> list[Bijection]:
        return [*scale_couplings(BLOCK, self._random.choice([2, 4]), CONTEXT, 8, self._yes())]

    def _norm(self) -> list[Bijection]:
        return [ActNorm(BLOCK)]

    def _early(self) -> list[Bijection]:
        return [EarlyOut(8, Chain([Chain(self._coupling(BLOCK - 8)), ActNorm(BLOCK - 8)]))]


def some_mel() -> torch.Tensor:
    return torch.randn(2, SPEC.n_mels, FRAMES, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 5.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::flowvocoder.errors.ClippedWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_synthesize_and_stream(seed: int) -> None:
    draw = Draw(seed)
    assert_streams(Vocoder(draw.model()), draw.streams)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::flowvocoder.errors.ClippedWarning")
@pytest.mark.parametrize("name", TINY)
def test_an_architecture_streams(name: str) -> None:
    model = tiny(name).double()
    perturb(model, 0.02)
    assert_streams(Vocoder(model), name not in WHOLE_MELS_ONLY)


def assert_streams(vocoder: Vocoder, streams: bool) -> None:
    """Batches, single items and streams give the samples of the model itself, or `stream` says what has no step."""
    mel = some_mel()
    together = vocoder.synthesize(mel, 0.7, seed=3, lengths=[FRAMES, 9])
    with torch.inference_mode():
        expected = vocoder.model.sample(vocoder.draw_noise(mel, 0.7, seed=3), mel)[0].clamp(-HIGHEST, HIGHEST)
    tolerance = 1e-8 * expected.abs().max().clamp_min(1.0)
    assert (together[0] - expected).abs().max() < tolerance and not together[1, 9 * SPEC.hop_length :].any()
    alone = vocoder.synthesize(mel[1, :, :9], 0.7, seed=4)[0]
    assert (together[1, : 9 * SPEC.hop_length] - alone).abs().max() < tolerance
    if not streams:
        with pytest.raises(ConfigError) as refused:
            vocoder.stream()
        assert re.fullmatch(r"this model cannot stream: [^.]+ has no streaming step; [^.]+", str(refused.value))
        return
    stream = vocoder.stream(0.7, seed=3)
    chunks = [stream.push(chunk) for chunk in mel[0].split(5, 1)]
    assert (torch.cat([*chunks, stream.flush()]) - expected).abs().max() < tolerance


@pytest.mark.parametrize("seed", SEEDS)
def test_encode_decode_and_score(seed: int) -> None:
    vocoder = Vocoder(Draw(seed).model())
    audio = 0.1 * torch.randn(2, FRAMES * SPEC.hop_length, generator=torch.Generator().manual_seed(1)).double()
    noise, mel = vocoder.encode(audio)
    assert (vocoder.decode(noise, mel) - audio).abs().max() < 1e-7
    nats = vocoder.log_prob(audio, mel)
    assert torch.isfinite(nats).all() and torch.allclose(vocoder.model.log_prob_by_frame(audio, mel).sum(1), nats)
    assert torch.allclose(vocoder.score_by_frame(audio).sum(1), vocoder.score(audio) * audio.shape[1])


@pytest.mark.slow
def test_the_drawn_chains_are_diverse() -> None:
    draws = [Draw(seed) for seed in SEEDS]
    modules = {type(module) for draw in draws for module in draw.chain.modules()}
    kinds = {PitchPredictor, LappedTransform, Squeeze, ConditionalScale, EarlyOut, SeparableNet, WaveNet, PointwiseLU}
    assert kinds < modules and 9 < sum(draw.streams for draw in draws) < len(draws)
    orders = {tuple(type(layer) for layer in draw.chain.layers) for draw in draws}
    assert len(orders) == len(draws)
