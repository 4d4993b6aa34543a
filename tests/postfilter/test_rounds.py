"""Rounds as machine code: what NumPy makes of them, with Fourier transforms of their own."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from mel_pairs import ODD, in_pieces, pair

from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.frame_by_frame import FrameByFrame, constants
from flowvocoder.postfilter.latency import with_delay
from flowvocoder.postfilter.rounds import Rounds
from flowvocoder.postfilter.rounds_compiled import CompiledRounds, supported
from flowvocoder.postfilter.settings import PostfilterSettings

pytest.importorskip("numba")

SPEC = convention("tacotron2")
LONG = pytest.param(PostfilterSettings(rounds=2, low_rounds=12, look_ahead=16), marks=pytest.mark.thorough)
"""More frames than are computed side by side at first: compiling for them takes half a minute."""


def transformed(z: npt.NDArray[np.float32], back: bool) -> npt.NDArray[np.float32]:
    """By the machine code, (rows, 2, lanes); numba must know the sizes when it compiles."""
    from flowvocoder.elementary import loop
    from flowvocoder.postfilter.transforms import backward, forward, transform

    rows, lanes = z.shape[0], z.shape[2]

    @loop
    def run(z: Any, twiddles: Any, back: Any) -> None:
        if back:
            backward(z, twiddles, rows, rows, lanes)
        else:
            forward(z, twiddles, rows, rows, lanes)

    flat = z.flatten()
    run(flat, transform(2 * rows).twiddles, back)
    return flat.reshape(z.shape)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "lanes"), [(16, 8), (32, 8), (128, 16), (256, 8), (2048, 8)])
def test_transforms_of_columns_are_fourier_transforms_and_undone(size: int, lanes: int) -> None:
    from flowvocoder.postfilter.transforms import transform

    rows = size // 2
    z = np.random.default_rng(0).standard_normal((rows, 2, lanes)).astype(np.float32)
    there = transformed(z, back=False)
    expected = np.fft.fft(z[:, 0] + 1j * z[:, 1], axis=0)
    places = transform(size).places
    assert len(places) == rows + 1 and places[-1] == places[0]
    found = there[places[:-1]]
    assert np.abs(found[:, 0] + 1j * found[:, 1] - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.abs(transformed(there, back=True) / rows - z).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, ODD], ids=lambda spec: spec.name())
@pytest.mark.parametrize("settings", [with_delay(0), with_delay(1), with_delay(4), with_delay(7), LONG], ids=str)
def test_machine_code_gives_what_numpy_gives(spec: MelSpec, settings: PostfilterSettings) -> None:
    """Whatever the pieces, from the first frames on to the last."""
    mel, audio = (x[:1].float() for x in pair(spec))
    postfilter = PostFilter(spec)
    plain = FrameByFrame(postfilter.consistency, postfilter.low_band, settings).push(mel, audio, ends=True)
    for seed in (1, 2):
        stage = FrameByFrame(postfilter.consistency, postfilter.low_band, settings, compiled=True)
        parts, _ = in_pieces(stage, mel, audio, seed, spec.hop_length)
        assert isinstance(stage._rounds, CompiledRounds)
        difference = (parts - plain).abs()  # rounds amplify rounding, above all in noise
        assert parts.shape == audio.shape and difference.max() < 5e-4 and difference.mean() < 2e-5
        assert (plain - audio).abs().mean() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
def test_signals_shorter_than_a_window(frames: int) -> None:
    mel, audio = (x[:1].float() for x in pair(SPEC))
    mel, audio = mel[..., :frames], audio[:, : frames * SPEC.hop_length + 100]
    postfilter = PostFilter(SPEC)
    plain, found = (
        FrameByFrame(postfilter.consistency, postfilter.low_band, with_delay(4), compiled=compiled).push(
            mel, audio, ends=True
        )
        for compiled in (False, True)
    )
    assert found.shape == audio.shape and (found - plain).abs().max() < 2e-5


def test_frames_of_other_sizes_are_left_to_numpy() -> None:
    for n_fft, expected in ((1024, True), (1200, False)):
        spec = dataclasses.replace(SPEC, n_fft=n_fft)
        postfilter = PostFilter(spec)
        assert supported(constants(postfilter.consistency, postfilter.low_band)) == expected
    stage = FrameByFrame(postfilter.consistency, postfilter.low_band, with_delay(4), compiled=True)
    stage.push(torch.zeros(1, 80, 1), torch.zeros(1, 256))
    assert type(stage._rounds) is Rounds
