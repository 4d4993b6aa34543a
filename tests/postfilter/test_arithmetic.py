"""Machine code gives what PyTorch does, and leaves to PyTorch what it cannot do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, pair
from torch import Tensor

from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention
from flowvocoder.postfilter.arithmetic import Arithmetic, MachineCode
from flowvocoder.postfilter.chain import FEWEST_AFTER_GUIDE, WIDE_BAND, PostFilter
from flowvocoder.postfilter.consistency import LOW_BAND, Band, MelConsistency
from flowvocoder.postfilter.filters import filters
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
    gain = torch.randn(items, rows, bins, generator=generator).clamp(-2.0, 2.0)
    assert close(MACHINE.change(spectrum.clone(), gain), TORCH.change(spectrum, gain), spectrum)

    floor, inside = 10 ** (6 * torch.rand(gain.shape, generator=generator) - 4), torch.rand(rows, 1) < 0.7
    arguments = 3 * floor, floor, 2.0, inside.float()
    assert close(MACHINE.towards(spectrum.clone(), *arguments), TORCH.towards(spectrum, *arguments), spectrum)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("band", [None, LOW_BAND, WIDE_BAND])
def test_bands_come_to_the_same_levels(name: str, band: Band | None) -> None:
    step, generator = MelConsistency(convention(name), band), torch.Generator().manual_seed(0)
    spectrum = torch.fft.rfft(torch.randn(2, 9, step.size, generator=generator) * 10 ** -torch.arange(9.0)[:, None])
    target, inside = torch.randn(2, 9, len(step.most), generator=generator), torch.arange(18).view(2, 9) % 5 != 3
    for which in (None, inside):
        found = MACHINE.corrected(spectrum.clone(), target, which, step)
        assert close(found, TORCH.corrected(spectrum, target, which, step), spectrum)


@pytest.mark.parametrize("band", [None, LOW_BAND, WIDE_BAND])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_whole_iteration_is_pytorchs(name: str, band: Band | None) -> None:
    """Of fewer frames than are computed side by side, as many, and more; some left out; of a view of audio."""
    step, generator = MelConsistency(convention(name), band), torch.Generator().manual_seed(0)
    for count, start in ((1, 0), (15, 3), (16, 0), (17, 1), (40, 0)):
        samples = (count - 1) * step.stride + step.size
        audio = 0.1 * torch.randn(2, samples + 9, generator=generator)[:, start:]
        target = torch.randn(2, count, len(step.most), generator=generator) - 3.0
        inside = torch.rand(2, count, generator=generator) < 0.7
        for which, length in ((None, 1.0), (inside, 1.7)):
            found, expected = torch.ones(2, audio.shape[1]), torch.ones(2, audio.shape[1])
            step.correct(found, audio, target, which, MACHINE, length)
            step.correct(expected, audio, target, which, TORCH, length)
            assert (found - expected).abs().max() < 3e-6 * max(1.0, float(expected.abs().max()))
            assert not (found == 1.0).all() or not inside.any()


def test_frames_that_have_no_transform_side_by_side_are_pytorchs() -> None:
    """Whose size is no power of two, or that lie no whole LANES apart."""
    for spec in (MelSpec(n_fft=1200, win_length=1200, hop_length=300), MelSpec(hop_length=200, win_length=800)):
        step, audio = MelConsistency(spec), torch.randn(1, 9000)
        target = torch.zeros(1, 9, len(step.most))
        found, expected = torch.zeros(2, 1, 9000)
        step.correct(found, audio, target, None, MACHINE)
        step.correct(expected, audio, target, None, TORCH)
        assert torch.allclose(found, expected, 0.0, 1e-5)


def test_a_frame_is_the_same_beside_any_others() -> None:
    step, generator = MelConsistency(convention("tacotron2"), WIDE_BAND), torch.Generator().manual_seed(0)
    audio = torch.randn(1, 39 * step.stride + step.size, generator=generator)
    target, whole = torch.randn(1, 40, len(step.most), generator=generator), torch.zeros(audio.shape)
    step.correct(whole, audio, target, None, MACHINE)
    for first in (1, 8, 21):
        alone, place = torch.zeros(audio.shape), first * step.stride
        step.correct(alone[:, place:], audio[:, place:], target[:, first:], None, MACHINE)
        assert torch.equal(alone[:, place + step.size :], whole[:, place + step.size :])


def test_filters_hold_what_matrices_do() -> None:
    """A band of many bins, one of none, and bins between two bands."""
    matrix = np.zeros((40, 20), np.float32)
    for band in range(19):
        matrix[band : 2 * band + 3, band] = 1.0 + band
    to_bins = np.zeros((20, 40), np.float32)
    to_bins[3, 5:9], to_bins[4, 7:12], to_bins[19, 30] = 0.5, 0.25, 1.0
    found = filters(matrix, to_bins, np.ones(20, np.float32), (-1.0, 0.1, 0.2), 45)
    assert found.widths.tolist() == [18, 21] and found.weights.sum() == matrix.sum() and len(found.below) == 45
    assert found.below[8] == 3 and (found.lower[8], found.upper[8]) == (0.5, 0.25) and found.lower[30] == 1.0
    to_bins[7, 8] = 1.0
    with pytest.raises(ValueError, match="neighbours"):
        filters(matrix, to_bins, np.ones(20, np.float32), (-1.0, 0.1, 0.2), 45)


@settings(max_examples=20, deadline=None)
@given(
    items=st.integers(1, 2), rows=st.integers(0, 3), each=st.sampled_from([1, 16]), seed=st.integers(0, 999),
)  # fmt: skip
def test_magnitudes_over_a_level_are_pytorchs(items: int, rows: int, each: int, seed: int) -> None:
    spectrum, generator = spectra(items, rows * each, seed), torch.Generator().manual_seed(seed)
    level = 6 * torch.randn(items, rows, 33, generator=generator)
    found, expected = (a.over_level(spectrum, level, 1e-8, -8.0, (-6.0, 4.0)) for a in (MACHINE, TORCH))
    assert found.shape == expected.shape and torch.allclose(found, expected, 0.0, 4e-6)
    for x in (level, level[..., ::2]):
        assert torch.allclose(MACHINE.bounded(x, 3.0), TORCH.bounded(x, 3.0), 1e-6, 0.0)


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
    found, expected = (torch.randn(items, 7 + size + 5 * stride) for _ in range(2))
    found.copy_(expected)
    for arithmetic, signal in ((MACHINE, found), (TORCH, expected)):
        arithmetic.add(signal[:, 7:], windows, window, stride)
    assert torch.allclose(found, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_postfilter_gives_the_same(name: str) -> None:
    """Over both bands, guided, of items of different lengths."""
    spec = convention(name)
    torch.manual_seed(0)
    guide = Guide(spec, 16, 2)
    torch.nn.init.normal_(guide.last.weight, std=0.02)
    postfilter = PostFilter(spec, guide).requires_grad_(False)
    mel, audio = (x.float() for x in pair(spec))
    iterations = PostfilterSettings(2, UNGUIDED_FIRST + GUIDED + FEWEST_AFTER_GUIDE)
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
