"""Looking at the flow's noise: is it Gaussian, and what happens if it is changed."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowvocoder.vocoder import Vocoder

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Gaussianity:
    """How close values come to a standard normal distribution, for which the four numbers are 0, 1, 0 and 0.

    Attributes:
        mean, deviation: first two moments.
        kurtosis: excess kurtosis, above 0 for heavy tails.
        distance: Kolmogorov-Smirnov distance, the largest difference between the two distribution functions.
        edges, density: histogram, (bins + 1,) and (bins,).
        expected, measured: quantiles of N(0, 1) and of the values at the same probabilities, for a Q-Q plot.
    """

    mean: float
    deviation: float
    kurtosis: float
    distance: float
    edges: Array
    density: Array
    expected: Array
    measured: Array


def gaussianity(values: Tensor, bins: int = 81, points: int = 201) -> Gaussianity:
    """Statistics of all values of a tensor of any shape."""
    flat = values.detach().double().flatten().cpu()
    centred = flat - flat.mean()
    variance = centred.square().mean()
    ordered = flat.sort().values
    count = len(ordered)
    cdf = torch.special.ndtr(ordered)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = torch.maximum((steps[1:] - cdf).max(), (cdf - steps[:-1]).max())
    probability = torch.special.ndtr(torch.linspace(-4.0, 4.0, points, dtype=torch.float64))
    index = (probability * count).long().clamp(0, count - 1)
    density, edges = np.histogram(flat.clamp(-5.0, 5.0).numpy(), bins, (-5.0, 5.0), density=True)
    return Gaussianity(
        mean=float(flat.mean()),
        deviation=float(variance.sqrt()),
        kurtosis=float(centred.pow(4).mean() / variance.square() - 3.0) if variance > 0 else 0.0,
        distance=float(distance),
        edges=edges,
        density=density,
        expected=torch.special.ndtri(probability).numpy(),
        measured=ordered[index].numpy(),
    )


def mix(noise: Tensor, other: Tensor, share: float) -> Tensor:
    """`share` of the way from one noise to another, (M, N) and (M, N'), along the arc that keeps it standard normal.

    The other is repeated or cut to the length of the first.
    """
    repeats = -(-noise.shape[-1] // other.shape[-1])
    other = other.repeat(1, repeats)[:, : noise.shape[-1]]
    angle = 0.5 * math.pi * share
    return math.cos(angle) * noise + math.sin(angle) * other


@dataclasses.dataclass(frozen=True)
class FrameLikelihood:
    """A recording's likelihood over time.

    Attributes:
        nats: log-density of each frame, (F,).
        energy: mean square of the noise in each frame, (F,): 1 if the frame is what the model expects of its mel, more
            if it is surprising, less if it is smoother than any real speech.
    """

    nats: Array
    energy: Array


def likelihood_by_frame(vocoder: Vocoder, audio: Tensor, mel: Tensor | None = None) -> FrameLikelihood:
    """Of a recording (T,), given its own mel or another that covers it.

    Raises:
        AudioError: as `Vocoder.score`.
    """
    nats = vocoder.score_by_frame(audio, mel)[0].double().cpu()
    frames = len(nats)
    whole = audio[: frames * vocoder.spec.hop_length]
    noise, _ = vocoder.encode(whole, (vocoder.mel(audio) if mel is None else mel)[..., :frames])
    energy = noise[0].double().square().mean(0).view(frames, -1).mean(1).cpu()
    return FrameLikelihood(nats.numpy(), energy.numpy())
