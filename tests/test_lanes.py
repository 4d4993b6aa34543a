"""Numbers side by side, and their Fourier transforms, are what NumPy makes of each."""

import numpy as np
import pytest

from flowvocoder.units import LANES

pytest.importorskip("numba")

from flowvocoder.elementary import loop
from flowvocoder.lanes.fourier import plan, signals, spectra
from flowvocoder.lanes.numbers import every, greatest, least, load, root, store, turned

SIZES = [2**n for n in range(2, 12)]


@pytest.mark.parametrize("size", SIZES)
def test_spectra_are_numpys_and_come_back(size: int) -> None:
    audio = np.random.default_rng(size).standard_normal((size, LANES)).astype(np.float32)
    real, imaginary = (0.5 * audio[part::2].ravel() for part in (0, 1))
    magnitude, bins = np.empty((size // 2 + 1) * LANES, np.float32), size // 2
    spectra(real, imaginary, magnitude, np.float32(1e-6), plan(size))
    expected, rows = np.fft.rfft(audio.astype(np.float64), axis=0), plan(size).rows
    found = (real + 1j * imaginary).reshape(bins, LANES)[rows]
    precision = 2e-7 * np.abs(expected).max()
    assert np.abs(found[1:] - expected[1:bins]).max(initial=0.0) < precision
    assert np.abs(found[0] - (expected[0] + 1j * expected[bins]).real - 1j * expected[bins].real).max() < precision
    assert np.abs(magnitude.reshape(bins + 1, LANES) - np.sqrt(np.abs(expected) ** 2 + 1e-6)).max() < precision

    factor = np.random.default_rng(0).uniform(-1.0, 3.0, (bins + 1, LANES)).astype(np.float32)
    signals(real, imaginary, factor.ravel(), plan(size))
    after = np.stack([real.reshape(bins, LANES), imaginary.reshape(bins, LANES)], 1).reshape(size, LANES) / size
    assert np.abs(after - np.fft.irfft(expected * factor, size, axis=0)).max() < 2e-6


@pytest.mark.parametrize("size", [0, 2, 3, 12, 300])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        plan(size)


@loop
def _everything(a, b, found):  # type: ignore[no-untyped-def]
    x, y = load(a, 3), load(b, 0)
    store(found, 1, greatest(least(x * y + every(np.float32(2.0)), x), y) - root(y))


@loop
def _turn(source, at, step, target, to, width):  # type: ignore[no-untyped-def]
    turned(source, at, step, target, to, width)


def test_operations_are_those_of_each_number() -> None:
    a, b = (np.random.default_rng(seed).uniform(0.0, 2.0, LANES + 5).astype(np.float32) for seed in (0, 1))
    found, x, y = np.zeros(LANES + 2, np.float32), a[3 : 3 + LANES], b[:LANES]
    _everything(a, b, found)
    assert np.allclose(found[1:-1], np.maximum(np.minimum(x * y + 2.0, x), y) - np.sqrt(y), 0.0, 1e-6)
    assert found[0] == found[-1] == 0.0


def test_a_square_is_transposed() -> None:
    source, target = np.arange(40.0 * 20, dtype=np.float32), np.zeros(40 * 30, np.float32)
    _turn(source, 5, 21, target, 7, 29)
    expected = np.zeros(40 * 30, np.float32)
    rows = np.stack([source[5 + 21 * n :][:LANES] for n in range(LANES)])
    for n in range(LANES):
        expected[7 + 29 * n :][:LANES] = rows[:, n]
    assert np.array_equal(target, expected)
