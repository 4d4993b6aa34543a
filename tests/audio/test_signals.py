"""PCM16, resampling, levels, the STFT and plots, against their definitions."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import speech_like

from flowvocoder.audio.levels import frame_levels, is_silent, speech_level
from flowvocoder.audio.pcm16 import from_pcm16, to_pcm16
from flowvocoder.audio.plots import draw_pair, save_curve, save_pair, spectrogram_db
from flowvocoder.audio.resample import resample, resample_on_device
from flowvocoder.audio.stft import magnitude, power, stft

RATE = 22050


def test_every_16_bit_number_comes_back() -> None:
    every = np.arange(-32768, 32768, dtype=np.int16)
    audio = from_pcm16(every)
    assert audio.dtype == np.float32 and audio[0] == -1.0 and audio[32769] == 1 / 32768
    again, clipped = to_pcm16(audio)
    assert np.array_equal(again, every) and clipped == 0


def test_what_is_too_loud_is_clipped_and_counted_and_not_wrapped() -> None:
    pcm, clipped = to_pcm16(np.array([1.0, 2.0, -1.0, -1.1, 0.49 / 32768, 0.51 / 32768]))
    assert pcm.tolist() == [32767, 32767, -32768, -32768, 0, 1] and clipped == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resampling_keeps_tones_and_the_type(dtype: type) -> None:
    def tone(rate: int) -> np.ndarray:
        return (0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(rate) / rate)).astype(dtype)

    low = resample(tone(48000), 48000, 16000)
    assert low.dtype == dtype and low.shape == (16000,)
    assert np.abs(low - tone(16000))[200:-200].max() < 1e-4
    if dtype is np.float32:
        assert np.abs(resample_on_device(tone(48000), 48000, 16000, "cpu") - low)[200:-200].max() < 1e-4


def test_levels_are_in_decibels_of_full_scale() -> None:
    square = np.tile([0.1, -0.1], RATE)
    levels = frame_levels(np.concatenate([square, 0.001 * square]), RATE)
    assert levels.shape == (200,) and levels[0] == pytest.approx(-20.0) and levels[-1] == pytest.approx(-80.0)
    assert speech_level(levels) == pytest.approx(-20.0) and is_silent(levels).sum() == 100
    assert frame_levels(np.zeros(10), RATE).tolist() == [-120.0]


def test_the_stft_is_that_of_its_definition() -> None:
    audio = np.random.default_rng(0).standard_normal(3000)
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)
    padded = np.pad(audio, 256, mode="reflect")
    frames = np.stack([padded[at : at + 512] for at in range(0, len(padded) - 511, 100)])
    spectrum = np.fft.rfft(frames * window).T
    ours = stft(torch.from_numpy(audio), 512, 100, 400)
    assert ours.shape == spectrum.shape and np.abs(ours.numpy() - spectrum).max() < 1e-11
    assert np.abs(power(ours, 0.5).numpy() - (np.abs(spectrum) ** 2 + 0.5)).max() < 1e-9
    assert np.abs(magnitude(ours).numpy() - np.abs(spectrum)).max() < 1e-11
    bare = stft(torch.from_numpy(padded), 512, 100, 400, center=False)
    assert torch.equal(bare, ours)


def test_a_full_scale_sine_is_at_0_db() -> None:
    sine = np.sin(2 * np.pi * 64 * np.arange(8192) / 1024).astype(np.float32)
    db = spectrogram_db(sine)
    assert db.shape == (513, 33) and db[64, 10] == pytest.approx(0.0, abs=1e-3) and db[300, 10] < -100


@pytest.mark.slow
def test_plots_leave_no_figure_in_memory(tmp_path: Path) -> None:
    """Its parts hold each other, so that counting references does not free them."""
    images = pytest.importorskip("matplotlib.image")
    speech = speech_like(0.5, RATE)
    gc.collect()
    before = {id(o) for o in gc.get_objects() if type(o) is images.AxesImage}
    gc.disable()
    try:
        draw_pair(speech, speech, RATE)
        save_pair(tmp_path / "pair.png", speech, speech, RATE)
        assert not [o for o in gc.get_objects() if type(o) is images.AxesImage and id(o) not in before]
    finally:
        gc.enable()


@pytest.mark.thorough
@pytest.mark.slow
def test_plots_are_as_large_for_a_long_recording(tmp_path: Path) -> None:
    speech = speech_like(1.0, RATE)
    pixels = draw_pair(speech, 0.5 * speech, RATE)
    assert pixels.shape == (800, 1000, 3) and pixels.std() > 30
    assert draw_pair(np.tile(speech, 40), np.tile(speech, 40), RATE).shape == pixels.shape
    save_curve(tmp_path / "curve.png", [1e-4, 1e-3], [5.0, 4.0], "x", "y", 1e-3)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
