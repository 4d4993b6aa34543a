"""What judges samples beside the spectral distance: pitch pulses, and what repeats in every block."""

import pytest
import torch
from torch import Tensor

from flowvocoder.training.block_tones import BlockTonePower
from flowvocoder.training.pulses import PeriodDistance, PulseDistance

RATE = 22050


def pulse_train(period: float, length: int = 16384) -> Tensor:
    """Band-limited pulses, one a period, with a little noise: a voice with all harmonics in phase."""
    time = torch.arange(length, dtype=torch.float64)
    harmonics = torch.arange(1, int(0.5 * period))
    noise = torch.randn(length, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (torch.cos(2 * torch.pi * harmonics[:, None] * time / period).mean(0) + 1e-3 * noise)[None]


def test_pulse_distance_sees_pulses_that_are_missing_and_not_where_they_are() -> None:
    distance = PulseDistance(RATE).double()
    recorded = pulse_train(110.3)
    assert distance(recorded, recorded) < 1e-9
    assert distance(-0.3 * recorded.roll(61, 1), recorded) < 0.03
    noise = torch.randn(1, 16384, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert distance(noise, recorded) > 0.5
    assert 0.1 < distance(recorded / recorded.std() + noise, recorded) < 0.5, "pulses drowned in noise lie between"
    assert distance(recorded, noise) < 0.05, "unvoiced frames do not count"


@pytest.mark.slow
def test_pulse_distance_teaches_pulses() -> None:
    """Gradient descent on noise brings it nearer, so the gradient is more than finite."""
    distance, recorded = PulseDistance(RATE).double(), pulse_train(131.7)
    noise = torch.randn(1, 16384, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    sample = noise.clone().requires_grad_()
    optimizer = torch.optim.Adam([sample], lr=0.02)
    before = float(distance(noise, recorded))
    for _ in range(20):
        optimizer.zero_grad()
        distance(sample, recorded).backward()
        optimizer.step()
    assert float(distance(sample.detach(), recorded)) < 0.6 * before


def test_pulse_distance_of_a_batch_is_the_mean_of_its_items() -> None:
    distance = PulseDistance(RATE).double()
    recorded = torch.cat([pulse_train(110.0), pulse_train(90.0)])
    samples = torch.randn(2, 16384, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    alone = [distance(samples[i : i + 1], recorded[i : i + 1]) for i in range(2)]
    assert torch.allclose(distance(samples, recorded), torch.stack(alone).mean())


def test_period_distance_tells_a_voice_from_its_octave() -> None:
    distance, low, high = PeriodDistance(RATE).double(), pulse_train(220.0), pulse_train(110.0)
    assert distance(low, low) < 1e-9
    assert distance(-0.3 * low.roll(61, 1), low) < 0.02, "neither level, sign nor delay counts"
    assert distance(high, low) > 0.15, "what repeats itself after a period of the lower one does so after half as well"
    noise = torch.randn(1, 16384, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert distance(noise, low) > 0.3
    assert distance(low, noise) < 0.05, "unvoiced frames do not count"


@pytest.mark.slow
def test_period_distance_teaches_the_octave() -> None:
    """Gradient descent brings a voice an octave too high down."""
    distance, recorded = PeriodDistance(RATE).double(), pulse_train(220.0)
    sample = pulse_train(110.0).requires_grad_()
    optimizer = torch.optim.Adam([sample], lr=0.005)
    before = float(distance(sample.detach(), recorded))
    for _ in range(30):
        optimizer.zero_grad()
        distance(sample, recorded).backward()
        optimizer.step()
    assert float(distance(sample.detach(), recorded)) < 0.6 * before


def test_block_tone_power_is_the_share_that_repeats() -> None:
    block, blocks = 64, 256
    generator = torch.Generator().manual_seed(0)
    level = torch.linspace(0.05, 0.001, block * blocks)  # a signal that fades: what counts is relative to it
    recorded = level * torch.randn(2, block * blocks, generator=generator)
    noise = level * torch.randn(2, block * blocks, generator=generator)
    tone = level * torch.randn(block, generator=generator).repeat(blocks)
    power = BlockTonePower(block)
    assert power(recorded, recorded) < 2.0 / blocks
    assert power(noise, recorded) < 2.0 / blocks
    assert 0.7 < power(tone.expand(2, -1), recorded) < 1.3
    mixed = 0.5**0.5 * (noise + tone)
    assert 0.35 < power(mixed, recorded) < 0.65
    mixed.requires_grad_()
    power(mixed, recorded).backward()
    step = mixed.detach() - 0.1 * mixed.grad / mixed.grad.abs().max()
    assert power(step, recorded) < power(mixed, recorded)
