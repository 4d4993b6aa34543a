"""Every layer through the harness, and what each one claims beside that."""

import copy
import math

import pytest
import torch
from bijection import assert_bijection, assert_logdet, perturb
from torch import nn

from flowvocoder.flows.autoregressive import Autoregressive, Inverse, MaskedPerceptron
from flowvocoder.flows.base import Bijection, Chain
from flowvocoder.flows.continuous import ContinuousFlow, Velocity
from flowvocoder.flows.coupling import AffineCoupling, Coupling
from flowvocoder.flows.elementwise import Affine, Shift
from flowvocoder.flows.excitation import excitation_envelope, phase_at_centres, shares
from flowvocoder.flows.images import ImageNet, ImageSqueeze, MaskedCoupling, Within, checkerboard
from flowvocoder.flows.lapped import LappedTransform, dct_iv
from flowvocoder.flows.perceptron import Perceptron
from flowvocoder.flows.permutation import Permutation
from flowvocoder.flows.pitch import PitchPredictor
from flowvocoder.flows.planar import Planar
from flowvocoder.flows.pointwise import PointwiseLU, PointwiseMatrix, even_odd, subband_merging, swapped_halves
from flowvocoder.flows.radial import Radial
from flowvocoder.flows.recursion.choice import synthesise
from flowvocoder.flows.recursion.reference import GROUP, REACH, predict
from flowvocoder.flows.scale import ConditionalScale
from flowvocoder.flows.scale_coupling import scale_couplings
from flowvocoder.flows.spline import Spline
from flowvocoder.flows.sylvester import Sylvester
from flowvocoder.flows.wavenet import WaveNet

CONTEXT = 3


def wavenet(inputs: int, outputs: int, causal: bool = False) -> WaveNet:
    return WaveNet(inputs, outputs, CONTEXT, channels=6, layers=3, causal=causal)


def causal_coupling(exchange: bool) -> AffineCoupling:
    return AffineCoupling(4, wavenet(2, 4, causal=True), exchange=exchange)


def image_net(inputs: int, outputs: int, size: tuple[int, int]) -> ImageNet:
    return ImageNet(inputs, outputs, CONTEXT, 4, size)


LAYERS: dict[str, tuple[Bijection, int, int, int, bool]] = {  # layer, channels, length, blocks, conditional
    "scale": (ConditionalScale(nn.Conv1d(CONTEXT, 4, 3, padding=1)), 4, 6, 6, True),
    "lu even-odd": (PointwiseLU(even_odd(6)), 6, 5, 5, False),
    "lu swap": (PointwiseLU(swapped_halves(6)), 6, 5, 5, False),
    "lu merged": (PointwiseLU(even_odd(6) @ subband_merging(6, group=4, keep=2)), 6, 5, 5, False),
    "matrix": (PointwiseMatrix(6), 6, 5, 5, False),
    "scale coupling": (scale_couplings(16, 2, CONTEXT, 6)[0], 16, 7, 7, True),
    "scale couplings": (Chain(scale_couplings(32, 4, CONTEXT, 6, causal=True)), 32, 6, 6, True),
    "coupling": (AffineCoupling(6, wavenet(3, 6)), 6, 7, 7, True),
    "uneven coupling": (Coupling(Perceptron(2, 6, CONTEXT, 5), Affine()), 5, 3, 3, True),
    "uneven coupling, exchanged": (Coupling(Perceptron(2, 3, CONTEXT, 5), Shift(), exchange=True), 5, 3, 3, True),
    "coupling of one channel": (Coupling(Perceptron(0, 2, CONTEXT, 5), Affine()), 1, 3, 3, True),
    "permutation": (Permutation(torch.tensor([2, 0, 3, 1])), 4, 3, 3, False),
    "spline coupling": (Coupling(Perceptron(2, 3 * 11, CONTEXT, 5), Spline(4, 1.5)), 5, 3, 3, True),
    "autoregression": (Autoregressive(MaskedPerceptron(4, 2, CONTEXT, 9), Affine()), 4, 3, 3, True),
    "autoregressive spline": (Autoregressive(MaskedPerceptron(3, 11, CONTEXT, 9), Spline(4, 1.5)), 3, 3, 3, True),
    "inverse autoregression": (Inverse(Autoregressive(MaskedPerceptron(4, 2, CONTEXT, 9), Affine())), 4, 3, 3, True),
    "planar": (Planar(4), 4, 3, 3, False),
    "planar with a context": (Planar(4, CONTEXT, 5), 4, 3, 3, True),
    "radial": (Radial(4), 4, 3, 3, False),
    "radial with a context": (Radial(4, CONTEXT, 5), 4, 3, 3, True),
    "sylvester": (Sylvester(4, 3), 4, 3, 3, False),
    "sylvester with a context": (Sylvester(3, 3, CONTEXT, 5), 3, 3, 3, True),
    "inverse sylvester": (Inverse(Sylvester(3, 2, CONTEXT, 5)), 3, 3, 3, True),
    "continuous": (ContinuousFlow(Velocity(3, CONTEXT, 7)).eval(), 3, 2, 2, True),
    "squeezed image": (Within(ImageSqueeze((2, 4)), Coupling(image_net(4, 8, (1, 2)), Affine())), 2, 8, 1, True),
    "checkerboard": (MaskedCoupling(checkerboard((3, 2)), image_net(2, 4, (3, 2)), Affine()), 2, 6, 1, True),
    "other checkerboard": (
        MaskedCoupling(checkerboard((2, 2), exchange=True), image_net(1, 5, (2, 2)), Spline(2)), 1, 4, 1, True,
    ),
    "causal chain": (
        Chain([causal_coupling(False), PointwiseLU(swapped_halves(4)), causal_coupling(True)]), 4, 6, 6, True,
    ),
    "lapped": (LappedTransform(8), 1, 40, 5, False),
    "lapped, one block": (LappedTransform(8), 1, 8, 1, False),
    "chain": (
        Chain([LappedTransform(4), PointwiseLU(even_odd(4)), AffineCoupling(4, wavenet(2, 4))]), 1, 32, 8, True,
    ),
}  # fmt: skip


MIXES_COLUMNS = {"lapped", "chain", "squeezed image", "checkerboard", "other checkerboard"}
"""Layers where no column has a log-determinant of its own."""


@pytest.mark.parametrize("name", LAYERS)
def test_layer_is_a_bijection(name: str) -> None:
    layer, channels, length, blocks, conditional = LAYERS[name]
    assert_bijection(layer, channels, length, CONTEXT, blocks, conditional, local=name not in MIXES_COLUMNS)


WRONG = {
    "even": lambda per_column: per_column.mean(1, keepdim=True).expand_as(per_column),
    "a column late": lambda per_column: per_column.roll(1, 1),
    "backwards": lambda per_column: per_column.flip(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("name", ["scale", "scale couplings", "coupling", "causal chain"])
def test_a_log_determinant_at_the_wrong_time_is_noticed(name: str, how: str) -> None:
    layer, channels, length, blocks, _ = LAYERS[name]
    layer = copy.deepcopy(layer).double()
    perturb(layer)
    x = torch.randn(2, channels, length, dtype=torch.float64)
    context = torch.randn(2, CONTEXT, blocks, dtype=torch.float64)
    assert_logdet(layer, x, context)
    right = layer.log_det_per_column

    def wrong(x: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z, per_column = right(x, context)
        return z, WRONG[how](per_column)

    layer.log_det_per_column = wrong  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="other columns"):
        assert_logdet(layer, x, context)


def test_scale_couplings_scale_every_group_but_one_after_those_they_are_given() -> None:
    layers = scale_couplings(64, 8, CONTEXT, 6)
    assert [layer.scaled for layer in layers] == [7, 3, 5, 1, 6, 2, 4]
    for layer, others in zip(layers, [layers[i + 1 :] for i in range(7)], strict=True):
        assert set(layer.given) == {0, *(other.scaled for other in others)}
    with pytest.raises(ValueError, match="multiple of 64"):
        scale_couplings(32, 8, CONTEXT, 6)


@pytest.mark.slow
def test_scale_coupling_learns_what_the_given_bands_leave_of_a_known_energy() -> None:
    """Sixteen bands that share a fixed energy: where the known half is loud, the other half is not."""
    torch.manual_seed(0)
    layer = scale_couplings(16, 2, CONTEXT, 32, causal=True)[0]
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
    context = torch.zeros(16, CONTEXT, 64)

    def nats() -> torch.Tensor:
        x = nn.functional.normalize(torch.randn(16, 16, 64), dim=1) * 4.0
        z, logdet = layer(x, context)
        return (logdet.sum() - 0.5 * z.square().sum()) / x.numel()

    before = nats()
    for _ in range(200):
        optimizer.zero_grad()
        (-nats()).backward()
        optimizer.step()
    # The half's share of the energy is Beta(4, 4): what is left of it has a log of variance 0.11, a quarter of which is
    # what knowing it brings each scaled band, and half as much is the mean over all.
    assert 0.010 < nats() - before < 0.018


def test_pitch_predictor_is_a_bijection() -> None:
    layer = PitchPredictor(CONTEXT, min_lag=28, max_lag=60, hidden=8)
    # The lag head is taught by the predictor's own loss, the other by samples; the tests below see to it.
    assert_bijection(layer, 1, 8 * GROUP, CONTEXT, 4, scale=0.1, outside_likelihood=("lag_head", "sample_"))


def test_pitch_predictor_own_loss_reaches_every_parameter() -> None:
    layer = PitchPredictor(CONTEXT, min_lag=28, max_lag=60, hidden=8)
    perturb(layer)
    time = torch.arange(2048) / 40.0
    audio = torch.sin(2 * math.pi * time)[None, None] + 0.01 * torch.randn(1, 1, 2048)
    sum(layer.own_losses(audio, torch.randn(1, CONTEXT, 16))).backward()
    for name, parameter in layer.named_parameters():
        if not name.startswith("sample_"):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"no gradient reaches {name}"


def test_samples_have_gains_of_their_own() -> None:
    """Those of the inverse until they are taught; how samples sound teaches them and no other parameter."""
    layer = PitchPredictor(CONTEXT, min_lag=28, max_lag=60, hidden=8).double()
    noise, context = torch.randn(1, 1, 512).double(), torch.randn(1, CONTEXT, 8).double()
    assert torch.equal(layer.sample(noise, context), layer.inverse(noise, context))
    perturb(layer)
    inverse = layer.inverse(noise, context)
    assert not torch.allclose(layer.sample(noise, context), inverse, atol=1e-3)
    layer.sample(noise, context).square().sum().backward()
    taught = {name.split(".")[0] for name, p in layer.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"sample_net", "sample_head"}
    with torch.no_grad():
        layer.sample_head.weight.add_(1.0)
    assert torch.equal(layer.inverse(noise, context), inverse)


def test_samples_have_pulses_of_their_own() -> None:
    """Hardly any until they are taught, and again by how samples sound alone."""
    layer = PitchPredictor(CONTEXT, min_lag=28, max_lag=60, hidden=8, excitation=True).double()
    noise, context = torch.randn(1, 1, 512).double(), torch.randn(1, CONTEXT, 8).double()
    assert torch.allclose(layer.sample(noise, context), layer.inverse(noise, context), atol=0.2)
    perturb(layer)
    inverse = layer.inverse(noise, context)
    layer.sample(noise, context).square().sum().backward()
    assert layer.sample_pulse.weight.grad.any() and not layer.lag_head.weight.grad
    with torch.no_grad():
        layer.sample_pulse.bias.fill_(4.0)
    assert not torch.allclose(layer.sample(noise, context), inverse, atol=0.5)
    assert torch.equal(layer.inverse(noise, context), inverse)


@pytest.mark.parametrize("block", [40, 41, 256])
def test_pulses_come_once_a_lag(block: int) -> None:
    blocks, lag = 4096 // block, 73.4
    lags = torch.full((1, blocks + 2), lag, dtype=torch.float64)
    depth, share = torch.full_like(lags, 0.8), shares(block, lags.dtype, lags.device)
    envelope = excitation_envelope(lags, depth, phase_at_centres(lags, block, torch.zeros(1)), share)[0]
    assert envelope.shape == (blocks * block,)
    assert (envelope[: 50 * 73].square().mean() - 1.0).abs() < 0.02
    time = torch.arange(blocks * block).double()
    # Phase 0 is at the centre of the block before the first.
    exact = (1 - 0.8**2) ** 0.75 / (1 - 0.8 * torch.cos(2 * math.pi * (time + 0.5 + block / 2) / lag))
    assert (envelope - exact).abs().max() < 1e-6


def test_pulses_glide_without_a_jump() -> None:
    """With the lag from 60 to 120 samples in a block the phase goes on, as the integral of 1 / lag that is linear."""
    block, lags = 256, torch.tensor([[60.0, 60.0, 120.0, 120.0]]).double()
    depth, phase = torch.full_like(lags, 0.5), phase_at_centres(lags, block, torch.zeros(1))
    envelope = excitation_envelope(lags, depth, phase, shares(block, lags.dtype, lags.device))[0]
    steps = torch.arange(2000).double() / 1000 + 0.0005  # a thousandth of a block each
    rate = torch.where(steps < 1, 1 / 60, torch.where(steps < 2, 1 / 60 + (steps - 1) * (1 / 120 - 1 / 60), 1 / 120))
    phi = torch.cat([torch.zeros(1).double(), (rate * block / 1000).cumsum(0)])  # from the first centre
    place = (torch.arange(2 * block) + 0.5) / block + 0.5
    at = phi[(place * 1000).round().long().clamp_max(2000)]
    inside = place < 2.0
    exact = 0.75**0.75 / (1 - 0.5 * torch.cos(2 * math.pi * at))
    assert (envelope - exact)[inside].abs().max() < 0.02
    assert envelope.diff().abs().max() < 0.1


@pytest.mark.parametrize("block", [2, 8, 128])
def test_lapped_transform_is_the_sine_window_mdct(block: int) -> None:
    blocks = 6
    x = torch.randn(1, 1, block * blocks, dtype=torch.float64)
    y = LappedTransform(block)(x, x)[0][0]
    n, k = torch.arange(2 * block, dtype=torch.float64), torch.arange(block, dtype=torch.float64)
    window = torch.sin(math.pi / (2 * block) * (n + 0.5))
    phase = math.pi / block * torch.outer(k + 0.5, n + 0.5 + block / 2)
    basis = math.sqrt(2.0 / block) * torch.cos(phase) * window
    for index in range(1, blocks - 1):  # block `index` sees half a block on either side of itself
        start = index * block - block // 2
        expected = basis @ x[0, 0, start : start + 2 * block]
        assert torch.allclose(y[:, index], expected, atol=1e-12)


def test_lapped_transform_is_orthogonal_and_critically_sampled() -> None:
    layer, length = LappedTransform(8), 48
    matrix = layer(torch.eye(length, dtype=torch.float64)[:, None], torch.empty(0))[0].reshape(length, length)
    assert torch.allclose(matrix @ matrix.T, torch.eye(length, dtype=torch.float64), atol=1e-12)


def test_dct_iv_is_its_own_inverse() -> None:
    assert torch.allclose(dct_iv(12) @ dct_iv(12), torch.eye(12, dtype=torch.float64), atol=1e-13)


def test_matrix_with_negative_determinant_has_a_log_det() -> None:
    layer = PointwiseMatrix(3)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([-2.0, 1.0, 1.0])))
    assert torch.allclose(layer(torch.randn(1, 3, 5), torch.empty(0))[1], torch.tensor([5 * math.log(2.0)]))


def test_lu_starts_as_the_matrix_it_is_given() -> None:
    weight = even_odd(128) @ subband_merging(128, 8)
    assert torch.allclose(weight @ weight.T, torch.eye(128), atol=1e-5)
    x = torch.randn(1, 128, 4)
    assert torch.allclose(PointwiseLU(weight)(x, torch.empty(0))[0], weight @ x, atol=1e-5)


def test_subband_merging_orders_the_block_in_time() -> None:
    """What one slot of a high band synthesises is shorter than the band itself, and the slots follow one another."""
    block, merged = 128, subband_merging(128, 8)
    unit = torch.zeros(128, 128, 3)
    unit[torch.arange(128), torch.arange(128), 1] = 1.0
    bands = LappedTransform(block).inverse(unit, unit)[:, 0]
    time = torch.arange(bands.shape[1], dtype=torch.float32)

    def centre_and_spread(waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        energy = waves.square()
        centre = (energy * time).sum(1)
        return centre, (energy * (time - centre[:, None]).square()).sum(1).sqrt()

    centre, spread = centre_and_spread((merged @ bands)[40:48])
    assert (centre.diff() < 0).all() or (centre.diff() > 0).all()
    assert spread.max() < 0.7 * centre_and_spread(bands[40:48])[1].min()


def test_coupling_scale_is_bounded() -> None:
    layer = AffineCoupling(2, nn.Identity(), bound=2.0)
    layer.conditioner.forward = lambda a, context: torch.full((1, 2, a.shape[-1]), 1e6)  # type: ignore[method-assign]
    z, logdet = layer(torch.ones(1, 2, 3), torch.empty(0))
    assert torch.isfinite(z).all() and torch.allclose(logdet, torch.tensor([6.0]))


def test_bijections_keep_float32_under_autocast() -> None:
    flow = Chain([LappedTransform(8), PointwiseLU(even_odd(8)), AffineCoupling(8, wavenet(4, 8))])
    perturb(flow)
    x, context = torch.randn(1, 1, 64), torch.randn(1, CONTEXT, 8)
    with torch.autocast("cpu", torch.bfloat16):
        z, logdet = flow(x, context)
        back = flow.inverse(z, context)
    assert z.dtype == logdet.dtype == torch.float32
    assert (back - x).abs().max() < 1e-5  # the same bfloat16 conditioner both ways


def test_recursion_undoes_prediction_sample_by_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    groups = 10
    lag = torch.randint(GROUP + REACH + 1, 60, (2, groups + 1), generator=generator)
    taps = torch.rand(2, groups + 1, 2 * REACH + 1, generator=generator, dtype=torch.float64) / (2 * REACH + 1)
    e = torch.randn(2, groups * GROUP, generator=generator, dtype=torch.float64)
    x = synthesise(e, lag, taps)
    assert torch.allclose(x - predict(x, lag, taps), e, atol=1e-12)
    for n in (0, 57, 80, 159):  # against the definition, written out
        g, i = divmod(n, GROUP)
        after = (i + 0.5) / GROUP
        expected = 0.0
        for node, fade in ((g, 1.0 - after), (g + 1, after)):
            for j in range(-REACH, REACH + 1):
                source = n - int(lag[0, node]) - j
                expected += fade * float(taps[0, node, REACH + j]) * (float(x[0, source]) if source >= 0 else 0.0)
        assert math.isclose(float(predict(x, lag, taps)[0, n]), expected, abs_tol=1e-12)


@pytest.mark.slow
def test_recursion_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    lag = torch.randint(GROUP + REACH + 1, 40, (1, 5), generator=generator)
    taps = (torch.rand(1, 5, 2 * REACH + 1, generator=generator, dtype=torch.float64) / 40).requires_grad_()
    e = torch.randn(1, 4 * GROUP, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, taps: synthesise(e, lag, taps), (e, taps))


@pytest.mark.slow
def test_pitch_predictor_removes_a_periodic_signal_once_trained() -> None:
    torch.manual_seed(0)
    layer = PitchPredictor(CONTEXT, min_lag=44, max_lag=200, hidden=16)
    time = torch.arange(8192) / 90.0
    audio = (0.1 * sum(torch.cos(2 * math.pi * h * time + h * h) for h in range(1, 5)))[None, None]
    context = torch.ones(1, CONTEXT, 64)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        sum(layer.own_losses(audio, context)).backward()
        optimizer.step()
    residual = layer(audio, context)[0]
    ratio = residual[..., 1024:].square().mean() / audio[..., 1024:].square().mean()
    assert ratio < 0.05, f"residual energy is {ratio:.3f} of the signal's"
