"""Machine code between products gives what PyTorch does, and leaves to PyTorch what it cannot do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowvocoder.flows.arithmetic import Arithmetic, MachineCode
from flowvocoder.flows.elementwise import Affine, Elementwise, Shift
from flowvocoder.flows.excitation import shares

pytest.importorskip("numba")

TORCH, MACHINE = Arithmetic(), MachineCode()

DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [(1, 1, 2), (2, 3, 14), (1, 5, 66), (3, 1, 34), (1, 0, 6), (0, 3, 6)]
"""Items, columns, twice the channels."""

SMALLEST = 1e-37
"""Of e^-88 and less, machine code makes e^-87."""

Both = Callable[[Arithmetic], Tensor]


def numbers(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 3.0) -> Tensor:
    """Normal ones, and the edges of what may come."""
    x = scale * torch.randn(shape, generator=torch.Generator().manual_seed(7))
    edges = torch.tensor([1e4, -1e4, 0.0, 1e-30, -88.0, 88.0, 1e-3, -1e-7])
    x.view(-1)[::5] = edges.repeat(len(x.view(-1)[::5]) // 8 + 1)[: len(x.view(-1)[::5])]
    return x.to(dtype)


def assert_same(run: Both, exact: Both | None = None) -> None:
    """To what float32 has, and for bfloat16 to the nearest one, which is another where float32 is at the middle of two.

    Args:
        exact: the same in float64, where float32 loses more than the last digits.
    """
    found, expected = run(MACHINE), run(TORCH)
    assert found.dtype == expected.dtype and found.shape == expected.shape and found.is_contiguous()
    if found.dtype == torch.bfloat16:
        others = (found != expected) & (expected.abs() > SMALLEST)
        assert others.sum() <= 0.01 * found.numel() + 1 and torch.allclose(found, expected, 2**-7, SMALLEST)
    else:
        assert torch.allclose(found.double(), (exact or run)(TORCH).double(), 1e-6, SMALLEST)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gates(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    both = numbers(*shape, dtype=dtype)
    assert_same(lambda a: a.gate(both), lambda a: a.gate(both.double()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bound", [2.0, 0.5, None])
@pytest.mark.parametrize("exchange", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_affine_couplings(shape: tuple[int, ...], exchange: bool, bound: float | None, dtype: torch.dtype) -> None:
    z, outputs = numbers(*shape), numbers(*shape, dtype=dtype).roll(1, -1)
    if bound is None:
        outputs = outputs.clamp(-60, 60)  # beyond, float32 overflows
    first = 0 if exchange else shape[2] // 2
    assert_same(
        lambda a: a.undone(Affine(bound), z, outputs, first),
        lambda a: a.undone(Affine(bound), z.double(), outputs, first),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group", [0, 1, 3])
@pytest.mark.parametrize("columns", [0, 1, 9])
def test_scale_couplings(columns: int, group: int, dtype: torch.dtype) -> None:
    z, log_scale = numbers(2, columns, 32), numbers(2, columns, 8, dtype=dtype)
    assert_same(
        lambda a: a.scaled(z, log_scale, 2.0, group, 4), lambda a: a.scaled(z.double(), log_scale, 2.0, group, 4)
    )
    for given in ([group], [0, 2], [1, 2, 3]):
        energies = [a.log_energies(z, given, 4, dtype).float() for a in (MACHINE, TORCH)]
        assert energies[0].shape == energies[1].shape
        near = 1e-6 if dtype == torch.float32 else 2**-7
        assert torch.allclose(energies[0], energies[1], near, near)


@pytest.mark.parametrize("block", [32, 40, 256, 7])
@pytest.mark.parametrize("blocks", [0, 1, 5])
def test_excitation(blocks: int, block: int) -> None:
    generator = torch.Generator().manual_seed(3)
    lag, depth, phase = torch.rand(3, 2, blocks + 2, generator=generator)
    given, share = (60 + 300 * lag, 0.9 * depth, phase), shares(block, torch.float32, lag.device)
    found, expected = (a.excitation(*given, share) for a in (MACHINE, TORCH))
    assert found.shape == expected.shape and torch.allclose(found, expected, 1e-5, 0.0)
    exact = [x.double() for x in (*given, share)]
    assert torch.equal(MACHINE.excitation(*exact), TORCH.excitation(*exact))


def test_rounds_to_bfloat16_as_pytorch_does() -> None:
    """Numbers of any size, and those at the middle of two, which become the even one."""
    from flowvocoder.flows.loops import loop, narrow, wide

    @loop
    def rounded(given: Any, found: Any) -> None:
        for i in range(given.size):
            found[i] = narrow(given[i], found)

    @loop
    def widened(given: Any, found: Any) -> None:
        for i in range(given.size):
            found[i] = wide(given[i])

    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    bits[::3] = bits[::3] & ~0xFFFF | 0x8000
    given = bits.view(torch.float32)
    given = given[given.isfinite()]
    found, back = torch.empty(len(given), dtype=torch.int16), torch.empty(len(given))
    rounded(given.numpy(), found.numpy())
    widened(found.numpy(), back.numpy())
    expected = given.bfloat16()
    assert torch.equal(found, expected.view(torch.int16)) and torch.equal(back, expected.float())


def views(x: Tensor) -> list[Tensor]:
    """The same numbers, not side by side in memory."""
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    wide[..., ::2] = x
    longer = torch.cat([x, x], 1)
    return [wide[..., ::2], longer[:, : x.shape[1]], x.transpose(1, 2).contiguous().transpose(1, 2)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_give_the_same_and_stay_as_they_are(dtype: torch.dtype) -> None:
    z, both, log_scale = numbers(2, 5, 8), numbers(2, 5, 8, dtype=dtype), numbers(2, 5, 2, dtype=dtype)

    def results(z: Tensor, both: Tensor, log_scale: Tensor) -> list[Tensor]:
        return [
            MACHINE.gate(both),
            MACHINE.undone(Affine(), z, both, 4),
            MACHINE.scaled(z, log_scale, 2.0, 1, 4),
            MACHINE.log_energies(z.repeat(1, 1, 4), [0, 1], 4, dtype),
        ]

    expected = results(z, both, log_scale)
    for given in zip(*map(views, (z, both, log_scale)), strict=True):
        before = [x.clone() for x in given]
        assert all(map(torch.equal, results(*given), expected)) and all(map(torch.equal, given, before))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_pytorchs(dtype: torch.dtype) -> None:
    z, both, log_scale = (numbers(2, 5, n).clamp(-9, 9).to(dtype) for n in (32, 32, 8))
    runs: list[Both] = [
        lambda a: a.gate(both),
        lambda a: a.undone(Affine(), z, both, 16),
        lambda a: a.scaled(z, log_scale, 2.0, 1, 4),
        lambda a: a.log_energies(z, [0, 2], 4, dtype),
    ]
    for run in runs:
        assert torch.equal(run(MACHINE), run(TORCH))


@pytest.mark.parametrize("transform, parameters", [(Shift(), 1), (Affine(), 2)])
def test_other_transforms_and_gradients_are_pytorchs(transform: Elementwise, parameters: int) -> None:
    z, outputs = numbers(2, 5, 7).requires_grad_(), numbers(2, 5, 4 * parameters)
    found, expected = (a.undone(transform, z, outputs, 3) for a in (MACHINE, TORCH))
    assert found.requires_grad and torch.equal(found, expected)
    both = numbers(2, 5, 8).requires_grad_()
    assert MACHINE.gate(both).requires_grad


@pytest.mark.parametrize(
    "run",
    [
        lambda a: a.undone(Affine(), torch.zeros(1, 2, 4), torch.zeros(1, 2, 6), 2),
        lambda a: a.undone(Affine(), torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), 2),
        lambda a: a.scaled(torch.zeros(1, 2, 8), torch.zeros(1, 2, 3), 2.0, 0, 4),
        lambda a: a.scaled(torch.zeros(1, 2, 7), torch.zeros(1, 2, 1), 2.0, 0, 4),
    ],
)
def test_shapes_that_do_not_fit_are_refused(run: Callable[[Arithmetic], Any]) -> None:
    """Machine code would read and write beyond the end."""
    with pytest.raises(RuntimeError):
        run(MACHINE)
