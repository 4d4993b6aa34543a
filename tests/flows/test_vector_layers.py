"""What the layers of density estimation claim beside being bijections."""

import math

import pytest
import torch
from bijection import perturb
from torch import Tensor

from flowvocoder.density.builders import build
from flowvocoder.density.families import settings_of
from flowvocoder.flows.autoregressive import MaskedPerceptron
from flowvocoder.flows.base import Bijection
from flowvocoder.flows.continuous import Velocity, solve
from flowvocoder.flows.images import ImageSqueeze, checkerboard
from flowvocoder.flows.planar import Planar, above_minus_one, undo_unit
from flowvocoder.flows.radial import Radial
from flowvocoder.flows.roots import root
from flowvocoder.flows.spline import Spline
from flowvocoder.flows.sylvester import Sylvester

NOTHING = torch.zeros(1, 0, 1, dtype=torch.float64)


def test_the_inverse_of_maf_is_the_forward_of_iaf() -> None:
    maf, iaf = (build(settings_of({"family": name, "dtype": "float64"}), 4, 2).flow for name in ("maf", "iaf"))
    perturb(maf)
    iaf.load_state_dict({
        name.replace("conditioner", "layer.conditioner"): value for name, value in maf.state_dict().items()
    })  # fmt: skip
    x, context = torch.randn(9, 4, 1, dtype=torch.float64), torch.randn(9, 2, 1, dtype=torch.float64)
    for one, other in zip(maf.layers, iaf.layers, strict=True):
        if hasattr(one, "transform"):
            z, logdet = other(x, context)
            assert torch.allclose(z, one.inverse(x, context), rtol=0, atol=1e-10)
            assert torch.allclose(one(z, context)[1], -logdet, rtol=0, atol=1e-10)
            assert torch.allclose(other.inverse(x, context), one(x, context)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("context", [0, 2])
def test_a_masked_network_sees_the_channels_before(context: int) -> None:
    net = MaskedPerceptron(4, 3, context, 11).double()
    perturb(net)
    given = torch.randn(1, context, 1, dtype=torch.float64)
    x = torch.randn(1, 4, 1, dtype=torch.float64)
    seen = torch.autograd.functional.jacobian(lambda x: net(x, given), x).view(3, 4, 4) != 0
    assert torch.equal(seen, torch.ones(4, 4, dtype=torch.bool).tril(-1).expand(3, 4, 4))


@pytest.mark.parametrize("free", [-40.0, -3.0, 0.0, 50.0])
def test_one_hidden_unit_is_undone_whatever_its_gain(free: float) -> None:
    gain = above_minus_one(torch.tensor(free, dtype=torch.float64))
    a = torch.cat([torch.linspace(-6, 6, 1001), torch.tensor([-1e6, -1e-9, 1e-9, 1e6])]).double()
    assert (undo_unit(a + gain * torch.tanh(a), gain) / a - 1)[a != 0].abs().max() < 1e-10
    assert gain > -1.0


def test_a_root_is_found_where_newton_alone_runs_away() -> None:
    target = torch.tensor([-1.5, 0.0, 1e-3, 1.57], dtype=torch.float64)

    def error(a: Tensor) -> tuple[Tensor, Tensor]:
        return torch.atan(a) - target, 1.0 / (1.0 + a.square())

    found = root(error, torch.full_like(target, -1e5), torch.full_like(target, 1e5))
    assert torch.allclose(found, torch.tan(target), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Planar, Radial, Sylvester])
def test_no_parameters_break_a_constrained_layer(kind: type[Bijection]) -> None:
    """However large they are: the constraint is in how they are used."""
    for seed in range(20):
        torch.manual_seed(seed)
        layer = (Sylvester(3, 3) if kind is Sylvester else kind(3)).double()
        perturb(layer, amount=3.0, seed=seed)
        x = 3.0 * torch.randn(50, 3, 1, dtype=torch.float64)
        z, logdet = layer(x, NOTHING)
        assert logdet.isfinite().all()
        assert torch.allclose(layer.inverse(z, NOTHING), x, rtol=0, atol=1e-6)


def test_a_spline_of_zeros_is_the_identity_and_tails_are_straight() -> None:
    spline = Spline(5, 2.0)
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    z, log_slope = spline.forward(x, torch.zeros(spline.parameters, *x.shape).double())
    assert torch.allclose(z, x) and torch.allclose(log_slope, torch.zeros_like(x), atol=1e-12)
    parameters = torch.randn(spline.parameters, 1, dtype=torch.float64).expand(-1, 101)
    z, log_slope = spline.forward(x, parameters)
    outside = x.abs() >= 2.0
    assert torch.equal(z[outside], x[outside]) and not log_slope[outside].any() and log_slope[~outside].any()
    assert (z.diff() > 0).all()
    edge = torch.tensor([2.0 - 1e-9, 2.0], dtype=torch.float64)
    assert spline.forward(edge, parameters[:, :2])[0].diff().abs() < 1e-8


def test_a_spline_may_start_as_the_identity_with_narrow_bins_in_the_middle() -> None:
    spline = Spline(8, 4.0)
    parameters, x = spline.identity(4.0), torch.linspace(-6, 6, 1001, dtype=torch.float64)
    given = parameters.double()[:, None].expand(-1, len(x))
    z, log_slope = spline.forward(x, given)
    assert torch.allclose(z, x, rtol=0, atol=1e-6) and log_slope.abs().max() < 1e-6
    at = spline._bin(x, given, of_z=False)
    widths = at.width[x.abs() < 4]
    assert 3.8 < widths.max() / widths.min() < 4.0 and widths.min() < 0.5


def test_splines_are_undone_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    spline, x = Spline(), 3.0 * torch.randn(10_000, generator=generator)
    parameters = torch.randn(spline.parameters, 10_000, generator=generator)
    z, log_slope = spline.forward(x, parameters)
    assert ((spline.inverse(z, parameters) - x).abs() * log_slope.exp().clamp_max(1.0)).max() < 1e-5


def test_the_divergence_is_the_trace_of_the_jacobian() -> None:
    net = Velocity(4, 2, 9).double()
    perturb(net, amount=0.5)
    context, x = torch.randn(1, 1, 2, dtype=torch.float64), torch.randn(1, 1, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(0.3, x, context)[0], x).view(4, 4)
    assert torch.allclose(net(0.3, x, context)[1][0, 0], jacobian.trace(), rtol=0, atol=1e-12)


def test_the_estimated_divergence_is_right_in_the_mean() -> None:
    """Over all vectors of signs, which are equally likely; one alone is off."""
    net = Velocity(4, 2, 9).double()
    perturb(net, amount=0.5)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)[:, None]
    x, context = torch.randn(1, 1, 4, dtype=torch.float64).expand(16, 1, 4), torch.randn(16, 1, 2).double()[:1]
    context = context.expand(16, 1, 2)
    velocity, estimates = net.estimate(0.3, x, context, signs)
    same, divergence = net(0.3, x, context)
    assert torch.equal(velocity, same) and (estimates - divergence).abs().max() > 1e-3
    assert torch.allclose(estimates.mean(), divergence[0, 0], rtol=0, atol=1e-12)
    assert torch.allclose(
        net.at(torch.full((16, 1, 1), 0.3, dtype=torch.float64), x, context), same, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("tolerance", [1e-4, 1e-11])
def test_the_solver_is_as_exact_as_it_is_told(tolerance: float) -> None:
    """x' = x cos(3 t) has the solution exp(sin(3 t) / 3), and y' = t that of t^2 / 2."""
    calls = 0

    def rate(time: float, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        return state[0] * math.cos(3 * time), torch.full_like(state[1], time)

    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    x, y = solve(rate, (one, zero), 0.0, 2.0, tolerance)
    assert abs(x.item() - math.exp(math.sin(6.0) / 3)) < 10 * tolerance and abs(y.item() - 2.0) < 1e-12
    assert calls < (60 if tolerance > 1e-6 else 700)
    back, _ = solve(rate, (x, y), 2.0, 0.0, tolerance)
    assert abs(back.item() - 1.0) < 20 * tolerance


def test_squares_of_an_image_become_channels() -> None:
    image = torch.arange(16.0).view(1, 1, 16)
    squeezed = ImageSqueeze((4, 4))(image, NOTHING)[0]
    assert squeezed[0, :, 0].tolist() == [0, 1, 4, 5] and squeezed[0, :, 3].tolist() == [10, 11, 14, 15]


def test_a_checkerboard_and_the_other_one_cover_the_image() -> None:
    board, other = checkerboard((3, 4)), checkerboard((3, 4), exchange=True)
    assert torch.equal(board, ~other)
    grid = board.view(3, 4)
    assert not (grid[:, 1:] == grid[:, :-1]).any() and not (grid[1:] == grid[:-1]).any()
