"""The density of whole models."""

import math
from collections.abc import Sequence

import pytest
import torch
from bijection import FlowOnly, assert_bijection, perturb
from helpers import speech_like
from torch import Tensor, nn

from flowvocoder.checkpoint import build_model
from flowvocoder.config import override
from flowvocoder.flows.base import Chain
from flowvocoder.flows.coupling import AffineCoupling
from flowvocoder.flows.density import FlowVocoder, dequantise, standard_normal_log_prob
from flowvocoder.flows.lapped import LappedTransform
from flowvocoder.flows.pointwise import PointwiseMatrix
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.wavenet import WaveNet
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS, convention
from flowvocoder.presets import preset
from flowvocoder.units import PCM16_STEP, bits_per_sample

TINY = override(preset("lapglow-tiny"), ["model.block=64", "mel.n_mels=8"])


def tiny(seed: int = 0, settings: Sequence[str] = ()) -> FlowVocoder:
    torch.manual_seed(seed)
    model = build_model(override(TINY, settings)).eval()
    perturb(model, 0.02)
    return model


SMALLER = ["mel.n_fft=256", "mel.win_length=256", "mel.hop_length=64", "model.block=16"]
"""A quarter of the samples, which makes a Jacobian quick."""


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["additive", "affine", "spline"])
def test_lapglow_is_a_bijection(coupling: str) -> None:
    model = FlowOnly(tiny(settings=[f"model.coupling={coupling}", *SMALLER]))
    # What teaches the lag is the pitch predictor's own loss.
    assert_bijection(
        model,
        1,
        128,
        8,
        2,
        scale=0.1,
        local=False,
        outside_likelihood=(
            "model.flow.layers.0.lag_head",
            "model.flow.layers.0.sample_",
            "model.flow.layers.2.log_scale.sample_last",
        ),
    )


def test_log_prob_of_a_linear_model_is_the_closed_form() -> None:
    """Orthogonal transform, known scales, a full matrix: audio is Gaussian with a covariance that can be written."""
    block, blocks = 4, 3

    class Known(nn.Module):
        def forward(self, context: Tensor) -> Tensor:
            return torch.tensor([0.3, -1.0, 0.1, 2.0], dtype=torch.float64)[None, :, None].expand(1, block, blocks)

    flow = Chain([LappedTransform(block), ConditionalScale(Known()), PointwiseMatrix(block)]).double()
    perturb(flow)
    model = FlowVocoder(convention("tacotron2"), nn.Identity(), flow, block)
    mel = torch.zeros(1, 1, blocks, dtype=torch.float64)
    basis = torch.eye(block * blocks, dtype=torch.float64)
    jacobian = torch.stack([flow(column[None, None], mel)[0].flatten() for column in basis], 1)
    covariance = torch.linalg.inv(jacobian.T @ jacobian)
    expected = torch.distributions.MultivariateNormal(torch.zeros(block * blocks, dtype=torch.float64), covariance)
    audio = torch.randn(1, block * blocks, dtype=torch.float64)
    assert torch.allclose(model.log_prob(audio, mel), expected.log_prob(audio), atol=1e-9)


def test_standard_normal_log_prob_has_its_constant() -> None:
    z = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2))
    assert torch.allclose(standard_normal_log_prob(z), expected)


@pytest.mark.slow
def test_density_of_a_coupling_integrates_to_one() -> None:
    """Importance sampling of a density that is no Gaussian, from a wide proposal."""
    coupling = AffineCoupling(2, WaveNet(1, 2, 1, channels=4, layers=1))
    perturb(coupling, 0.5)
    flow = Chain([LappedTransform(2), coupling])
    model = FlowVocoder(convention("tacotron2"), nn.Identity(), flow, 2).double()
    wide = 3.0 * torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    proposal = torch.distributions.Normal(0.0, 3.0).log_prob(wide).sum(1)
    with torch.no_grad():
        mass = (model.log_prob(wide, torch.zeros(200_000, 1, 2, dtype=torch.float64)) - proposal).exp().mean()
    assert abs(float(mass) - 1.0) < 0.03


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_encode_then_decode_gives_the_audio_back(dtype: torch.dtype, tolerance: float) -> None:
    model = tiny().to(dtype)
    audio = torch.from_numpy(speech_like(1.5, 22050))[None, : 128 * 256].to(dtype)
    mel = MelFrontEnd(model.spec)(audio)[..., :128]
    noise, _ = model.encode(audio, mel)
    assert (noise.mean().abs() > 0) and (model.decode(noise, mel) - audio).abs().max() < tolerance


def test_fresh_model_starts_from_the_mels_envelope() -> None:
    """Untrained, the noise is already near unit scale: the envelope comes from the mel itself."""
    model = build_model(preset("lapglow-tiny")).eval()
    audio = torch.from_numpy(speech_like(2.0, 22050))[None, : 160 * 256]
    mel = MelFrontEnd(model.spec)(audio)[..., :160]
    with torch.no_grad():
        noise, _ = model.encode(audio, mel)
    below = noise[:, : int(128 * 8000 / 11025)]  # the mel says nothing about what is above 8 kHz
    assert 0.35 < float(below.abs().median()) < 1.35  # 0.67 for N(0, 1)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_silence_does_not_blow_up(name: str) -> None:
    """Digital silence has a mel of -100 dB and less, but dequantised audio does not."""
    model = build_model(override(preset("lapglow-tiny"), [f"mel={name}"])).eval()
    speech = torch.from_numpy(speech_like(1.0, model.spec.sample_rate))
    audio = torch.cat([torch.zeros(12000), speech])[: 120 * 256]
    mel = MelFrontEnd(model.spec)(audio)[None, :, :120]
    noisy = dequantise(audio, PCM16_STEP, torch.Generator().manual_seed(0))[None]
    with torch.no_grad():
        nats = model.log_prob(noisy, mel) / audio.numel()
    assert -50.0 < float(nats) < math.log(32768)  # it was -1e7


def test_frames_that_are_no_whole_groups_of_the_recursion() -> None:
    model = build_model(override(preset("lapglow-tiny"), ["mel.hop_length=200", "model.block=40"])).eval().double()
    perturb(model, 0.02)
    audio = torch.from_numpy(speech_like(1.0, 22050))[None, : 101 * 200].double()
    mel = MelFrontEnd(model.spec)(audio)[..., :101]
    noise, _ = model.encode(audio, mel)
    assert (model.decode(noise, mel) - audio).abs().max() < 1e-9


def test_the_start_of_a_signal_does_not_depend_on_its_length() -> None:
    model = tiny().double()
    audio = torch.from_numpy(speech_like(2.0, 22050))[None, : 160 * 256].double()
    mel = MelFrontEnd(model.spec).double()(audio)[..., :160]
    with torch.no_grad():
        long, short = model.encode(audio, mel)[0], model.encode(audio[:, : 120 * 256], mel[..., :120])[0]
    blocks = 90 * 256 // model.block  # what is nearer to the cut is within the receptive field
    assert torch.allclose(long[..., :blocks], short[..., :blocks], atol=1e-9)


def test_dequantisation_stays_within_its_bin() -> None:
    audio = torch.arange(-3, 4) * PCM16_STEP
    noisy = dequantise(audio, PCM16_STEP, torch.Generator().manual_seed(0))
    assert torch.equal((noisy / PCM16_STEP).round(), torch.arange(-3.0, 4.0)) and not torch.equal(noisy, audio)


def test_bits_per_sample_of_the_uniform_density_is_16() -> None:
    assert math.isclose(bits_per_sample(math.log(0.5)), 16.0)
