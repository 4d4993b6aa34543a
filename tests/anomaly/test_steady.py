"""What stays is told from what moves: tones, mains hum, at any level."""

import numpy as np
import pytest
import torch

from flowvocoder.anomaly.framing import FRAMES, RATE
from flowvocoder.anomaly.spectrograms import FINE_WINDOW, fine_spectra
from flowvocoder.anomaly.steady import STEADY, steady

SECONDS = 4.0
TIME = np.arange(round(SECONDS * RATE)) / RATE


def columns(samples: np.ndarray, count: int = round(SECONDS * FRAMES)) -> dict[str, np.ndarray]:
    audio = torch.from_numpy(samples.astype(np.float32))
    return dict(zip(STEADY, steady(fine_spectra(audio, count), audio, count).T, strict=True))


def bursts(seed: int = 0) -> np.ndarray:
    """Noise that comes and goes as speech does."""
    envelope = np.repeat(np.random.default_rng(seed + 1).uniform(0.0, 1.0, 80) ** 4, len(TIME) // 80 + 1)[: len(TIME)]
    return 0.1 * envelope * np.random.default_rng(seed).standard_normal(len(TIME))


@pytest.mark.parametrize("hz", [400.0, 3000.0, 9000.0])
@pytest.mark.parametrize("level", [1.0, 0.03])
def test_a_weak_tone_stands_out_at_its_place(hz: float, level: float) -> None:
    speech = bursts()
    tone = 0.01 * speech.std() * np.sin(2 * np.pi * hz * TIME)
    before, after = (columns(level * samples) for samples in (speech, speech + tone))
    assert all(np.ptp(column) == 0.0 for column in after.values())
    assert after["tones 0.02: strongest"][0] > before["tones 0.02: strongest"][0] + 1.0
    assert np.exp(after["tones 0.02: place"][0]) == pytest.approx(hz * FINE_WINDOW / RATE, abs=1.0)
    assert after["the strongest tone: mean"][0] > before["the strongest tone: mean"][0]


def test_what_moves_is_no_tone() -> None:
    noise, size = bursts(), 0.02
    still = size * np.sin(2 * np.pi * 2000.0 * TIME)
    moving = size * np.sin(2 * np.pi * (2000.0 * TIME + 100.0 * TIME**2))
    strongest = [columns(noise + more)["tones 0.1: strongest"][0] for more in (still, moving)]
    assert strongest[0] > strongest[1] + 2.0


@pytest.mark.parametrize(("mains", "other"), [(50, 60), (60, 50)])
def test_hum_is_of_its_own_mains(mains: int, other: int) -> None:
    hum = sum(np.sin(2 * np.pi * k * mains * TIME) for k in range(1, 9))
    found = columns(bursts() + 0.001 * hum)
    assert found[f"hum 0.02 {mains} Hz: mean"][0] > found[f"hum 0.02 {other} Hz: mean"][0] + 1.0


@pytest.mark.parametrize("count", [1, 9, 100, 1500])
def test_any_length_has_columns(count: int) -> None:
    noise = np.random.default_rng(0).standard_normal(count * 245)
    found = np.stack(list(columns(noise, count).values()))
    assert found.shape == (len(STEADY), count) and np.isfinite(found).all()
