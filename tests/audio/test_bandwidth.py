"""Where the spectrum of a recording ends."""

import numpy as np
import pytest
import soxr

from flowvocoder.audio.bandwidth import band_edge

RATE = 22050


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 48000])
def test_band_edge_finds_where_the_spectrum_ends(rate: int) -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(2 * rate)
    assert band_edge(noise, rate) == (rate / 2, False)
    for share in (0.4, 0.6, 0.8):
        low = soxr.resample(soxr.resample(noise, rate, rate * share), rate * share, rate)
        edge, empty = band_edge(np.rint(low * 32768) / 32768, rate)
        assert empty and abs(edge - share * rate / 2) < 600


def test_a_natural_roll_off_is_no_band_edge() -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(2 * RATE))
    hz = np.linspace(0, RATE / 2, len(spectrum))
    steep = np.fft.irfft(spectrum / (1 + (hz / 500) ** 2)) + 3e-4 * np.random.default_rng(1).standard_normal(2 * RATE)
    assert not band_edge(0.1 * steep / steep.std(), RATE)[1]
