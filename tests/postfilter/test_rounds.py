"""Rounds as machine code: what NumPy makes of them."""

import dataclasses

import pytest
import torch
from mel_pairs import in_pieces, pair

from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.frame_by_frame import FrameByFrame, constants
from flowvocoder.postfilter.latency import with_delay
from flowvocoder.postfilter.rounds import Rounds
from flowvocoder.postfilter.rounds_compiled import CompiledRounds, supported
from flowvocoder.postfilter.settings import PostfilterSettings

pytest.importorskip("numba")

SPEC = convention("tacotron2")
LONG = PostfilterSettings(rounds=2, low_rounds=12, look_ahead=16)
"""More frames than are computed side by side."""


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, convention("vocos")], ids=lambda spec: spec.name())
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
    for n_fft, hop, expected in ((1024, 256, True), (1200, 256, False), (1024, 192, False)):
        spec = dataclasses.replace(SPEC, n_fft=n_fft, hop_length=hop)
        postfilter = PostFilter(spec)
        assert supported(constants(postfilter.consistency, postfilter.low_band)) == expected
    stage = FrameByFrame(postfilter.consistency, postfilter.low_band, with_delay(4), compiled=True)
    stage.push(torch.zeros(1, 80, 1), torch.zeros(1, 256))
    assert type(stage._rounds) is Rounds
