"""What a network sees of a recording is where it should be, and the network learns, keeps and says what it learned."""

import math

import numpy as np
import pytest
import torch

from flowvocoder.anomaly.examples import Example
from flowvocoder.anomaly.framing import FRAMES, at_rate
from flowvocoder.anomaly.spectrogram_network import SpectrogramNetwork, folded, train
from flowvocoder.anomaly.spectrograms import BANDS, EVERY, FINE, SPECTROGRAM, fine_spectra, spectrogram

WIDTH = len(SPECTROGRAM)


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def spectrogram_of(samples: np.ndarray, rate: int) -> np.ndarray:
    audio = at_rate(samples, rate)
    return spectrogram(fine_spectra(audio, FRAMES), audio, samples, rate, FRAMES)


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_a_tone_is_in_its_bin_whatever_the_rate(rate: int) -> None:
    columns = spectrogram_of(tone(1000.0, rate), rate)
    assert columns.shape == (90, WIDTH) and np.isfinite(columns).all()
    assert (columns[20:70, :FINE].argmax(1) == round(1000 * 2048 / 22050)).all()
    assert (columns[::EVERY] == columns[1::EVERY]).all()


@pytest.mark.parametrize("rate", [16000, 48000])
def test_the_top_is_that_of_the_recordings_own_rate(rate: int) -> None:
    columns = spectrogram_of(tone(0.45 * rate, rate), rate)[20:70, FINE + BANDS :]
    assert (columns.argmax(1) == 32 * (0.9 - 0.75) // 0.25).all()  # 0.9 of half of the rate


def examples(rng: np.random.Generator, count: int = 96) -> list[Example]:
    """Noise, every second time with a line that stays."""
    found = []
    for number in range(count):
        spectra = rng.normal(-8.0, 1.0, (int(rng.integers(40, 90)), WIDTH))
        if number % 2:
            spectra[:, 60:63] += 5.0
        found.append(Example(spectra.astype(np.float16), 0 if number % 2 else -1))
    return found


@pytest.mark.slow
def test_it_tells_a_line_from_none_at_any_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.anomaly.spectrogram_network.PASSES", 10)
    network = train(examples(np.random.default_rng(0)), 1, 0)
    again = train(examples(np.random.default_rng(0)), 1, 0)
    unheard = examples(np.random.default_rng(1), 40)
    odds = np.array([network.log_odds(np.repeat(one.features, EVERY, 0))[0] for one in unheard])
    damaged = np.array([one.damage == 0 for one in unheard])
    assert odds[damaged].min() > odds[~damaged].max()
    louder = [network.log_odds(np.repeat(one.features.astype(np.float64) + 3.0, EVERY, 0))[0] for one in unheard]
    assert np.allclose(odds, louder, atol=0.02)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_folding_changes_no_score_but_the_odds_asked_for() -> None:
    torch.manual_seed(0)
    whole = SpectrogramNetwork(3, training=True)
    for part in whole.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -1.0, 1.0)
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(part.weight, 0.5, 2.0)
    x, more = torch.randn(2, 50, WIDTH), torch.tensor([0.5, 0.0, -1.0])
    plain = folded(whole, more)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in plain.modules())
    expected = whole(x) + torch.cat([more, torch.zeros(1)])
    assert torch.allclose(plain(x), expected, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 7, 900])
def test_any_length_has_odds(frames: int) -> None:
    odds = SpectrogramNetwork(4).eval().log_odds(np.full((frames, WIDTH), math.log(1e-7), np.float32))
    assert odds.shape == (4,) and np.isfinite(odds).all()


def test_others_random_numbers_stay_as_they_are() -> None:
    weights = SpectrogramNetwork(2).eval().state_dict()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    SpectrogramNetwork.of(weights)
    assert torch.equal(torch.get_rng_state(), before)
    weights["scores.bias"] = torch.zeros(10**6)  # says a million damages: nothing is made for it
    with pytest.raises(RuntimeError, match=r"scores\.bias"):
        SpectrogramNetwork.of(weights)
