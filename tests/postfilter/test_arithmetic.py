"""Machine code gives what PyTorch does, and leaves to PyTorch what it cannot do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, pair
from torch import Tensor

from flowvocoder.mel.spec import CONVENTIONS, convention
from flowvocoder.postfilter.arithmetic import Arithmetic, MachineCode
from flowvocoder.postfilter.chain import UNGUIDED_LAST, PostFilter
from flowvocoder.postfilter.guide import GUIDED, UNGUIDED_FIRST, Guide
from flowvocoder.postfilter.settings import PostfilterSettings

pytest.importorskip("numba")

TORCH, MACHINE = Arithmetic(), MachineCode()


def spectra(items: int, rows: int, seed: int) -> Tensor:
    """Complex (B, J, 33) of any size from 1e-12 to 1e4, some of it 0."""
    generator = torch.Generator().manual_seed(seed)
    shape = items, rows, 33
    size = 10 ** (16 * torch.rand(shape, generator=generator) - 12)
    angle = 2 * math.pi * torch.rand(shape, generator=generator)
    size[torch.rand(shape, generator=generator) < 0.1] = 0.0
    return torch.polar(size, angle)


def close(found: Tensor, expected: Tensor, spectrum: Tensor) -> bool:
    """As near as float32 has it, given what bins were; 0 in bins that PyTorch leaves out."""
    bins = expected.shape[-1]
    error = (found[..., :bins] - expected).abs()
    # The factor is up to e^2, and less than 1 is exact to the precision of 1.
    return bool((error <= 4e-6 * spectrum[..., :bins].abs()).all()) and not found[..., bins:].any()


@settings(max_examples=40, deadline=None)
@given(items=st.integers(1, 3), rows=st.integers(1, 9), bins=st.integers(1, 33), seed=st.integers(0, 999))
def test_every_operation_is_pytorchs(items: int, rows: int, bins: int, seed: int) -> None:
    spectrum, generator = spectra(items, rows, seed), torch.Generator().manual_seed(seed)
    found, expected = (a.magnitude(spectrum, bins, 1e-9) for a in (MACHINE, TORCH))
    assert found.shape == expected.shape and torch.allclose(found, expected, 1e-6, 0.0)

    level = 10 ** (12 * torch.rand(items, rows, bins, generator=generator) - 8)
    target, most = torch.randn(level.shape, generator=generator), 2 * torch.rand(bins, generator=generator)
    expected = TORCH.gain(level, target, 1e-5, most, -2.0)
    gain = MACHINE.gain(level.clone(), target, 1e-5, most, -2.0)
    assert (gain - expected).abs().max() < 2e-6
    assert close(MACHINE.change(spectrum.clone(), gain), TORCH.change(spectrum, gain), spectrum)

    floor, inside = 10 ** (6 * torch.rand(level.shape, generator=generator) - 4), torch.rand(rows, 1) < 0.7
    arguments = 3 * floor, floor, 2.0, inside.float()
    assert close(MACHINE.towards(spectrum.clone(), *arguments), TORCH.towards(spectrum, *arguments), spectrum)


@settings(deadline=None)
@given(gain=st.floats(-8.0, 8.0))
def test_a_change_is_right_to_a_part_in_ten_millions_of_the_bin(gain: float) -> None:
    changed = MACHINE.change(torch.ones(1, 1, 5, dtype=torch.complex64), torch.full((1, 1, 3), gain))
    exact = math.expm1(float(torch.tensor(gain)))
    assert abs(changed[0, 0, 0].real - exact) < 1.5e-7 * max(1.0, math.exp(gain)) and not changed.imag.any()


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 40), stride=st.integers(1, 50), rows=st.integers(1, 9), items=st.integers(1, 3))
def test_frames_and_their_sum_are_pytorchs(size: int, stride: int, rows: int, items: int) -> None:
    audio, window = torch.randn(items, size + 5 * stride), torch.randn(size)
    windows = TORCH.windows(audio, window, stride, rows)
    assert torch.equal(MACHINE.windows(audio, window, stride, rows), windows) and windows.shape[1] == min(rows, 6)
    found, expected = (a.overlap_add(windows, window, stride) for a in (MACHINE, TORCH))
    assert found.shape == expected.shape and torch.allclose(found, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_postfilter_gives_the_same(name: str) -> None:
    """Over both bands, guided, of items of different lengths."""
    spec = convention(name)
    torch.manual_seed(0)
    guide = Guide(spec, 16, 2)
    torch.nn.init.normal_(guide.last.weight, std=0.02)
    postfilter = PostFilter(spec, guide).requires_grad_(False)
    mel, audio = (x.float() for x in pair(spec))
    iterations = PostfilterSettings(2, UNGUIDED_FIRST + GUIDED + UNGUIDED_LAST + 4)
    found, expected = (
        postfilter.stages(iterations, torch.tensor([FRAMES, 40]), compiled=compiled).push(mel, audio, ends=True)
        for compiled in (True, False)
    )
    assert (found - expected).abs().max() < 2e-4 * expected.abs().max()
    assert not torch.equal(found, expected), "machine code was not used"


def test_other_types_and_gradients_are_pytorchs() -> None:
    spec = convention("tacotron2")
    postfilter, (mel, audio) = PostFilter(spec).double().requires_grad_(False), pair(spec)
    settings = PostfilterSettings(2, 4)
    compiled, plain = (postfilter.stages(settings, compiled=c).push(mel, audio, ends=True) for c in (True, False))
    assert torch.equal(compiled, plain)
    audio = audio.float().requires_grad_()
    postfilter.float().stages(settings, compiled=True).push(mel.float(), audio, ends=True).square().sum().backward()
    assert audio.grad is not None and bool(audio.grad.any())
