"""Tests that need a GPU, on a pretended one, and that it refuses what a true one does: there they run as they are."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
PARTS = {
    "densities": ["tests/test_pretend_device.py", "tests/density/test_cuda.py"],
    "voice": ["tests/test_cuda.py", "tests/streaming/test_engines.py", "tests/streaming/test_recorded.py"],
    "training": ["tests/training/test_cuda.py", "tests/training/test_loading.py"],
}
"""Files of tests, together in a process, which takes up to a minute. Continuous integration runs the first alone."""

CHOSEN = "cuda and not graphs and not recursion"
"""Neither CUDA graphs nor Triton's kernel: they are what only a GPU has."""

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(torch.cuda.is_available() or shutil.which("g++") is None, reason="there is a GPU, or no compiler")
@pytest.mark.parametrize("part", PARTS)
def test_what_needs_a_gpu_runs_on_a_pretended_one(part: str) -> None:
    chosen = ["-k", CHOSEN, *PARTS[part]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "pretend_device", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT, env={**environment, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True, text=True,
    )  # fmt: skip
    last = process.stdout.splitlines()[-1]
    assert process.returncode == 0 and "passed" in last and "skipped" not in last, process.stdout + process.stderr


def on_both() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    return x, x.cuda()


REFUSED: dict[str, Callable[[torch.Tensor, torch.Tensor], object]] = {
    "a sum": lambda x, y: y + x,
    "a sum the other way": lambda x, y: x + y,
    "in place": lambda x, y: x.add_(y),
    "a number written to the CPU": lambda x, y: x.sum().add_(y.sum()),
    "a product": lambda x, y: y @ x.T,
    "joined": lambda x, y: torch.cat([x, y]),
    "stacked numbers": lambda x, y: torch.stack([x.sum(), y.sum()]),
    "indices on the CPU": lambda x, y: y.gather(0, torch.zeros(1, 1, dtype=torch.int64)),
    "indices on the GPU": lambda x, y: x[torch.tensor([0], device="cuda")],
    "rows by the CPU": lambda x, y: y.index_select(0, torch.tensor([0])),
    "a condition": lambda x, y: torch.where(x > 0, y, 0.0),
    "a window": lambda x, y: torch.stft(y, 2, window=torch.hann_window(2), return_complex=True),
    "weights": lambda x, y: nn.Linear(4, 2)(y),
    "sorted edges": lambda x, y: torch.searchsorted(torch.arange(3.0), y),
    "the CPU's generator": lambda x, y: torch.randn(3, device="cuda", generator=torch.Generator()),
    "the GPU's generator": lambda x, y: torch.randn(3, generator=torch.Generator("cuda")),
    "the CPU's order": lambda x, y: torch.randperm(3, device="cuda", generator=torch.Generator()),
    "numpy": lambda x, y: y.numpy(),
    "an array": lambda x, y: y.__array__(),
    "pinned": lambda x, y: y.pin_memory(),
}


@needs_cuda
@pytest.mark.parametrize("name", REFUSED)
def test_cuda_refuses(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"device|cuda|cpu"):
        REFUSED[name](*on_both())


@needs_cuda
def test_cuda_takes_numbers_of_the_cpu_and_its_indices() -> None:
    x, y = on_both()
    assert torch.equal((y * torch.tensor(2.0)).cpu(), x * 2.0)
    assert torch.equal(y[torch.tensor([2, 0])].cpu(), x[[2, 0]])
    y[torch.tensor([0])] = torch.tensor(7.0)
    assert y[0].tolist() == [7.0] * 4 and y.is_cuda


@needs_cuda
def test_cuda_gives_the_gradients_of_the_cpu() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 8, 3), nn.GELU(), nn.Conv1d(8, 2, 1)).double()
    x = torch.randn(2, 4, 16, dtype=torch.float64)
    other = copy.deepcopy(net).cuda()
    for one, rows in ((net, x), (other, x.cuda())):
        optimizer = torch.optim.Adam(one.parameters(), fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            torch.fft.rfft(one(rows)).abs().log1p().sum().backward()
            optimizer.step()
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert b.is_cuda and b.grad is not None and b.grad.is_cuda and torch.allclose(a, b.cpu())


@needs_cuda
def test_cuda_views_share_memory_and_copies_do_not() -> None:
    x, y = on_both()
    y.view(4, 3)[1:].zero_()
    assert y.flatten().count_nonzero() == 3 and x.count_nonzero() == 12
    copied = copy.deepcopy(nn.Parameter(y))
    copied.data.fill_(1.0)
    assert copied.is_cuda and y.count_nonzero() == 3
    out = torch.empty(0, device="cuda")
    torch.mul(y, 2.0, out=out)
    assert out.shape == (3, 4) and torch.equal(out, 2.0 * y)


@needs_cuda
def test_cuda_seeds_give_other_numbers_than_the_cpu_and_the_same_again() -> None:
    drawn = [torch.randn(8, device="cuda", generator=torch.Generator("cuda").manual_seed(3)).cpu() for _ in range(2)]
    on_cpu = torch.randn(8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(*drawn) and not torch.equal(drawn[0], on_cpu)


@needs_cuda
def test_cuda_copies_from_pinned_memory() -> None:
    x, _ = on_both()
    pinned = x.pin_memory()
    assert pinned.is_pinned() and not x.is_pinned()
    assert torch.equal(pinned.to("cuda", non_blocking=True).cpu(), x)
