"""The low band: down and up again without loss, nearer to the mel with momentum, and the bands above untouched."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, ODD, distance, in_pieces, pair
from torch import Tensor

from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention
from flowvocoder.postfilter.chain import WIDE_BAND
from flowvocoder.postfilter.consistency import LOW_BAND, Band, decimation
from flowvocoder.postfilter.low_band import LowBand, LowBandStage
from flowvocoder.postfilter.schedule import FIRST, HURRIED, IN_TURNS, LAST, Move, learned, steady, towards_mel

SPECS = pytest.mark.parametrize("spec", [*map(convention, CONVENTIONS), ODD], ids=[*CONVENTIONS, "hop 300"])


BANDS = pytest.mark.parametrize("hz_of", [LOW_BAND, WIDE_BAND], ids=["1 kHz", "2 kHz"])


def iterated(band: LowBand, mel: Tensor, audio: Tensor, moves: list[Move]) -> Tensor:
    return LowBandStage(band, band.iterations(moves)).push(mel, audio, ends=True)


def low_distance(band: LowBand, audio: Tensor, mel: Tensor) -> float:
    return distance(audio, mel, band.consistency.spec, int(0.8 * band.consistency.bands))


@BANDS
@SPECS
def test_iterations_come_nearer_and_leave_the_bands_above(spec: MelSpec, hz_of: Band) -> None:
    band = LowBand(spec, hz_of).double()
    assert band.decimate == (8 if hz_of is LOW_BAND and spec is not ODD else 4)
    mel, audio = pair(spec)
    after = [iterated(band, mel, audio, steady(iterations)) for iterations in (0, 1, 4, 24)]
    distances = [low_distance(band, one, mel) for one in after]
    assert all(later < 0.8 * earlier for earlier, later in itertools.pairwise(distances)), distances
    change = torch.fft.rfft(after[-1] - audio).abs().square()
    hz = torch.linspace(0, spec.sample_rate / 2, change.shape[1])
    assert change[:, hz > 1.5 * hz_of[1]].sum() < 1e-4 * change.sum()


@pytest.mark.parametrize("name", ["tacotron2", "vocos"])
def test_momentum_brings_forty_iterations_a_third_nearer(name: str) -> None:
    """Plain ones stop short, and so do those with half the momentum or much more of it."""
    spec = convention(name)
    band = LowBand(spec).double()
    mel, audio = pair(spec)
    low = band.of(audio)
    plain, fast = band.consistency(low, mel, 40), band.iterate(low, mel, steady(40))

    def error(low: Tensor) -> float:
        stated = band.consistency.target(mel)
        inner = (band.consistency.log_mel_of(low, FRAMES) - stated)[:, 6 : FRAMES - 6]
        return float(inner[..., : int(0.8 * band.consistency.bands)].abs().mean())

    assert error(fast) < 0.7 * error(plain), (error(fast), error(plain))


@BANDS
@SPECS
def test_a_band_comes_back_from_the_lower_rate(spec: MelSpec, hz_of: Band) -> None:
    band = LowBand(spec, hz_of).double()
    time = torch.arange(8192 + 4 * band.reach, dtype=torch.float64) / spec.sample_rate
    below = sum(torch.cos(2 * math.pi * hz * time + hz) for hz in (80.0, 450.0, hz_of[1] - 50.0))[None]
    top = spec.sample_rate / band.decimate - sum(hz_of) / 2
    above = torch.cos(2 * math.pi * top * time)[None]  # an alias of the upper end
    middle = slice(2 * band.reach, -2 * band.reach - band.decimate)
    back = band.upsample(band.downsample(below))
    assert (back - below[:, 2 * band.reach :][:, : back.shape[1]])[:, : 4 * 1024].abs().max() < 5e-3
    assert band.downsample(above)[:, middle].abs().max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tacotron2", "hifigan", "vocos", "parallelwavegan"])
def test_learned_moves_come_as_near_in_fewer_iterations(name: str) -> None:
    """From audio that is nearly right, as samples of a flow are. From noise they come as near, and do not diverge."""
    spec = convention(name)
    band = LowBand(spec, WIDE_BAND).double()
    mel, noise = pair(spec)
    stated = band.consistency.target(mel)

    def error(low: Tensor, moves: list[Move]) -> float:
        now = band.consistency.log_mel_of(band.iterate(low, mel, moves), FRAMES)
        inner = (now - stated)[:, 6 : FRAMES - 6, : int(0.8 * band.consistency.bands)]
        return float(inner.abs().mean())

    low = band.of(noise)
    near = band.iterate(low, mel, steady(12))
    for count in (12, 24, 36):
        assert error(near, learned(count)) < error(near, steady(count * 9 // 8)), count
    assert error(low, learned(200)) < error(low, steady(100))
    assert towards_mel(HURRIED) == learned(HURRIED) and towards_mel(HURRIED + 1) == steady(HURRIED + 1)


def test_every_number_of_moves_is_there() -> None:
    for count in range(40):
        moves = learned(count)
        assert len(moves) == count and moves[: len(FIRST)] == list(FIRST)[:count]
        if count >= len(FIRST) + len(LAST):
            assert moves[-len(LAST) :] == list(LAST) and set(moves[len(FIRST) : -len(LAST)]) <= set(IN_TURNS)


@given(seed=st.integers(0, 10**6), iterations=st.integers(1, 6), hop=st.sampled_from([256, 300]))
@settings(max_examples=6, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, iterations: int, hop: int) -> None:
    spec = convention("tacotron2") if hop == 256 else ODD
    band = LowBand(spec).double()
    mel, audio = pair(spec)
    moves = learned(iterations)
    stage = LowBandStage(band, band.iterations(moves))
    parts, late = in_pieces(stage, mel, audio, seed, hop)
    assert (parts - iterated(band, mel, audio, moves)).abs().max() < 1e-12
    assert late <= stage.behind + 2 * hop


def test_where_nothing_divides_it_runs_at_the_full_rate() -> None:
    spec = MelSpec.from_dict({**vars(convention("tacotron2")), "hop_length": 255, "win_length": 1020, "n_fft": 1020})
    assert decimation(spec, LOW_BAND) == 1
    mel, audio = pair(spec)
    assert distance(iterated(LowBand(spec).double(), mel, audio, steady(4)), mel, spec) < 0.95 * distance(
        audio, mel, spec
    )
