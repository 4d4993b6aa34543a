"""The pitch recursion in NumPy, and on a GPU. Of that a CPU can try Triton's interpreter and the machine code."""

import os
import re
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from flowvocoder.flows.recursion import choice, in_numpy, reference
from flowvocoder.flows.recursion.reference import GROUP, REACH, past_samples

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")

LOWEST, HIGHEST = GROUP + REACH + 1, 300


def problem(groups: int, dtype: torch.dtype = torch.float64, items: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """e, lag, taps, past. Lags rise from the lowest to the highest, so that steps of all sizes come."""
    generator = torch.Generator().manual_seed(0)
    rising = torch.linspace(LOWEST, HIGHEST - 1, groups + 1).long()
    lag = torch.stack([rising, rising.flip(0)])[torch.arange(items) % 2]
    taps = torch.rand(items, groups + 1, 2 * REACH + 1, generator=generator, dtype=dtype) / (2 * REACH + 1)
    e, past = (torch.randn(items, n, generator=generator, dtype=dtype) for n in (groups * GROUP, past_samples(HIGHEST)))
    return e, lag, taps, past


@pytest.mark.parametrize("items", [1, 3])
@pytest.mark.parametrize("groups", [8, in_numpy.AT_ONCE + 5])
def test_the_loop_in_numpy_gives_what_the_reference_gives(groups: int, items: int) -> None:
    given = problem(groups, items=items)
    expected = reference.solve(*given)
    assert choice._solving(expected) is in_numpy
    assert torch.allclose(choice.solve(*given), expected, rtol=0, atol=1e-12)
    small = [x.float() if x.is_floating_point() else x for x in given]
    assert torch.allclose(choice.solve(*small).double(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


IN_THE_INTERPRETER = """
from flowvocoder.flows.recursion import kernel, reference
from tests.flows.test_recursion_kernel import problem

e, lag, taps, past = problem(8)
print(float((kernel.solve(e, lag, taps, past) - reference.solve(e, lag, taps, past)).abs().max()))
print(float((kernel.adjoint(e, lag, taps) - reference.adjoint(e, lag, taps)).abs().max()))
"""


@pytest.mark.slow
def test_the_interpreted_kernel_gives_what_the_reference_gives() -> None:
    """Programs one after the other, each operation at once: it says nothing of the order of memory accesses."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-c", IN_THE_INTERPRETER]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert max(map(float, done.stdout.split())) < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["_solve", "_adjoint"])
def test_threads_wait_for_each_other_after_every_step_of_the_compiled_kernel(name: str) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from flowvocoder.flows.recursion import kernel

    kinds = {"x": "*fp32", "e": "*fp32", "lag": "*i64", "taps": "*fp32", "groups": "i32", "before": "i32"}
    sizes = {"GROUPS": kernel.GROUPS, "GROUP": GROUP, "REACH": REACH}
    source = ASTSource(getattr(kernel, name), kinds | dict.fromkeys(sizes, "constexpr"), constexprs=sizes)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": 1})
    code = made.asm["ptx"]
    written, waits, back = (
        [match.start() for match in re.finditer(what, code)]
        for what in (r"st\.global|atom\.global", r"bar\.sync", r"bra\s+\$L__BB0_2")
    )
    assert written and len(waits) == len(back) == 1 and written[-1] < waits[0] < back[0]
    assert "cp.async" not in code and ".nc" not in code, "nothing is read early, or by a cache that stores pass by"


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_recursion_gives_what_the_cpu_gives(dtype: torch.dtype) -> None:
    given = problem(700, dtype, items=5)
    expected, gradient = reference.solve(*given), reference.adjoint(*given[:3])
    e, lag, taps, past = (x.cuda() for x in given)
    bound = 1e-4 if dtype == torch.float32 else 1e-11
    for _ in range(20):  # a race shows now and then
        assert (choice.solve(e, lag, taps, past).cpu() - expected).abs().max() < bound
        assert (choice._quickest(e).adjoint(e, lag, taps).cpu() - gradient).abs().max() < bound


@needs_cuda
def test_cuda_recursion_gradients() -> None:
    e, lag, taps, _ = (x.cuda() for x in problem(4, items=1))
    inputs = e.requires_grad_(), taps.requires_grad_()
    assert torch.autograd.gradcheck(lambda e, taps: choice.synthesise(e, lag, taps), inputs, nondet_tol=1e-10)
