"""Damages that are vocoders: speech through a mel or other parameters and back."""

import importlib.util

import numpy as np
import torch

from flowvocoder.anomaly.damages import Clean, Damaged, Rng, damage, loudness
from flowvocoder.anomaly.features import voice
from flowvocoder.audio.files import Samples
from flowvocoder.audio.resample import resample
from flowvocoder.evaluation.griffin_lim import griffin_lim
from flowvocoder.extras import library

SETTINGS = ((0.7, None, None), (0.9, 8, 0), (1.0, 0, 0))
"""Temperature, iterations and low-band iterations of the bundled voice, from the weakest damage on."""


@damage("Griffin-Lim", "vocoder")
def _griffin_lim(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """100 to 16 iterations from the bundled voice's mel."""
    spec = voice().spec
    mel = voice().mel_for(_at(spec.sample_rate, clean))
    made = griffin_lim(mel, spec, round(100 * 0.16**strength), int(rng.integers(2**31)))
    return Damaged(_back(made[0].numpy(), clean))


@damage("this vocoder", "vocoder")
def _flow(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """The bundled voice as it is, with 8 mel-consistency iterations, and without any."""
    temperature, rounds, low = SETTINGS[round(2 * strength)]
    mel = voice().mel_for(_at(voice().sample_rate, clean))
    seed = int(rng.integers(2**31))
    made = voice().synthesize(mel, temperature, seed=seed, gl_iters=rounds, low_band_iters=low, trust_mel=True)
    return Damaged(_back(made[0].numpy(), clean))


def _world(clean: Clean, strength: float, rng: Rng) -> Damaged:
    """Analysis and synthesis by WORLD (Morise et al. 2016), every 5 to 15 ms."""
    pyworld = library("pyworld", "evaluate")
    samples, period = clean.samples.astype(np.float64), 5.0 * 3.0**strength
    pitch, times = pyworld.dio(samples, clean.rate, frame_period=period)
    pitch = pyworld.stonemask(samples, pitch, times, clean.rate)
    envelope, noise = (f(samples, pitch, times, clean.rate) for f in (pyworld.cheaptrick, pyworld.d4c))
    made = pyworld.synthesize(pitch, envelope, noise, clean.rate, period)
    return Damaged(made.astype(np.float32)[: len(clean.samples)])


if importlib.util.find_spec("pyworld"):
    damage("WORLD", "vocoder")(_world)


def _at(rate: int, clean: Clean) -> torch.Tensor:
    return torch.from_numpy(resample(clean.samples, clean.rate, rate))


def _back(made: Samples, clean: Clean) -> Samples:
    samples = resample(np.asarray(made, np.float32), voice().sample_rate, clean.rate)[: len(clean.samples)]
    return samples * np.float32(clean.rms / loudness(samples))
