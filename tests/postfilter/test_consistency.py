"""Mel consistency over all bands: nearer to the mel with every iteration, in pieces as at once, and nothing else."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mel_pairs import FRAMES, ODD, distance, in_pieces, pair
from torch import Tensor

from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention, edge_padding
from flowvocoder.postfilter.consistency import Iteration, MelConsistency
from flowvocoder.postfilter.stages import Stages

SPECS = pytest.mark.parametrize("spec", [*map(convention, CONVENTIONS), ODD], ids=[*CONVENTIONS, "hop 300"])


@SPECS
def test_every_iteration_comes_nearer(spec: MelSpec) -> None:
    consistency = MelConsistency(spec).double()
    mel, audio = pair(spec)
    distances = [distance(consistency(audio, mel, iterations), mel, spec) for iterations in (0, 1, 2, 4)]
    assert all(later < 0.9 * earlier for earlier, later in itertools.pairwise(distances)), distances
    assert distances[-1] < 0.35 * distances[0]


@SPECS
def test_its_mel_is_the_front_ends(spec: MelSpec) -> None:
    _, audio = pair(spec)
    inner = slice(4, FRAMES - 6)
    measured = MelConsistency(spec).double().log_mel_of(audio, FRAMES).transpose(1, 2)
    scale = 2.302585092994046 if spec.log == "log10" else 1.0
    expected = scale * MelFrontEnd(spec).double()(audio)[..., :FRAMES]
    assert max(edge_padding(spec)) < 4 * spec.hop_length, "inner frames must lie whole inside the signal"
    assert (measured - expected)[..., inner].abs().max() < 1e-9


def cut_off(audio: Tensor, rate: int, above: float, decibels: float = -20.0) -> Tensor:
    """Audio that is weaker by so many decibels from a frequency on."""
    spectrum = torch.fft.rfft(audio)
    hz = torch.linspace(0, rate / 2, spectrum.shape[1])
    return torch.fft.irfft(torch.where(hz < above, 1.0, 10 ** (decibels / 20)) * spectrum, audio.shape[1])


def test_audio_that_has_the_mel_is_left_as_it_is() -> None:
    spec = convention("tacotron2")
    audio = cut_off(pair(spec)[1], 22050, 8000.0)
    mel = MelFrontEnd(spec).double()(audio)[..., :FRAMES]
    assert (MelConsistency(spec).double()(audio, mel, 3) - audio).abs().max() < 1e-6


def test_below_a_mel_a_level_falls_to_what_is_likely() -> None:
    """A hum of 25 Hz where the mel begins at 80 and says nothing of it: most of it goes. Nothing is added there."""
    spec = MelSpec(fmin=80.0)
    audio = pair(spec)[1]
    audio = audio - cut_off(audio, spec.sample_rate, 60.0, -200.0)  # without what lies below 60 Hz
    mel = MelFrontEnd(spec).double()(audio)[..., :FRAMES]
    hum = 3 * audio.std() * torch.cos(2 * torch.pi * 25.0 * torch.arange(audio.shape[1]) / spec.sample_rate)
    consistency, inner = MelConsistency(spec).double(), slice(4096, -4096)
    hz = torch.linspace(0, spec.sample_rate / 2, 1 + (audio.shape[1] - 8192) // 2)

    def level(signal: Tensor) -> float:
        return float(torch.fft.rfft(signal[:, inner])[:, (hz > 15.0) & (hz < 35.0)].abs().square().sum().sqrt())

    assert level(consistency(audio + hum, mel, 8)) < 0.3 * level(audio + hum)
    assert level(consistency(audio, mel, 8)) < 0.01 * level(audio + hum)


@pytest.mark.parametrize(("nats", "gain"), [(0.6931, 4.0), (5.0, 54.6)])
def test_a_gain_of_the_mel_is_a_gain_of_the_audio(nats: float, gain: float) -> None:
    """Up to 2 nats in an iteration, a power of 54.6; wherever frames are whole, and not above the mel."""
    spec = convention("tacotron2")
    audio = cut_off(pair(spec)[1], 22050, 8000.0)
    mel = MelFrontEnd(spec).double()(audio)[..., :FRAMES] + nats
    inner = slice(2048, -2048)
    after = torch.fft.rfft(MelConsistency(spec).double()(audio, mel, 1)[:, inner]).abs().square()
    before = torch.fft.rfft(audio[:, inner]).abs().square()
    hz = torch.linspace(0, spec.sample_rate / 2, before.shape[1])
    for low, high, expected in ((100.0, 7000.0, gain), (8500.0, 11000.0, 1.0)):
        band = (hz > low) & (hz < high)
        assert float(after[:, band].sum() / before[:, band].sum()) == pytest.approx(expected, rel=0.03)


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), iterations=st.integers(1, 4), hop=st.sampled_from([256, 300]))
@settings(max_examples=6, deadline=None)
def test_pieces_of_any_size_give_the_whole(seed: int, iterations: int, hop: int) -> None:
    spec = convention("tacotron2") if hop == 256 else ODD
    consistency = MelConsistency(spec).double()
    mel, audio = pair(spec)
    stages = Stages([Iteration(consistency, number) for number in range(iterations)])
    parts, late = in_pieces(stages, mel, audio, seed, hop)
    assert (parts - consistency(audio, mel, iterations)).abs().max() < 1e-12
    assert late <= stages.behind + 2 * hop


def test_an_item_of_a_batch_is_what_it_is_alone() -> None:
    spec = convention("tacotron2")
    consistency = MelConsistency(spec).double()
    mel, audio = pair(spec)
    samples = 40 * spec.hop_length
    audio[1, samples:] = 0.0
    lengths = torch.tensor([FRAMES, 40])
    together = Stages([Iteration(consistency, n, lengths) for n in range(3)]).push(mel, audio, ends=True)
    alone = consistency(audio[1:, :samples], mel[1:, :, :40], 3)
    assert (together[1, :samples] - alone[0]).abs().max() < 1e-12
    assert together[1, samples:].abs().max() == 0.0
    assert (together[0] - consistency(audio[:1], mel[:1], 3)[0]).abs().max() < 1e-12


def test_shorter_than_a_window_is_left_as_it_is() -> None:
    spec = convention("tacotron2")
    mel, audio = pair(spec)
    few = audio[:, : 3 * spec.hop_length]
    assert torch.equal(MelConsistency(spec).double()(few, mel[..., :3], 4), few)


def test_gradients_reach_the_audio() -> None:
    spec = convention("tacotron2")
    mel, audio = pair(spec)
    audio.requires_grad_()
    MelConsistency(spec).double()(audio, mel, 2).square().sum().backward()
    assert audio.grad is not None and audio.grad.isfinite().all() and (audio.grad != 0).float().mean() > 0.99
