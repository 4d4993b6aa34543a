"""The flow's latent z: whether it is Gaussian, and what happens if it is changed."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
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
    from scipy import stats

    flat = values.detach().double().flatten().cpu().numpy()
    constant = float(np.ptp(flat)) == 0.0
    density, edges = np.histogram(np.clip(flat, -5.0, 5.0), bins, (-5.0, 5.0), density=True)
    expected = np.linspace(-4.0, 4.0, points)
    return Gaussianity(
        mean=float(flat.mean()),
        deviation=float(flat.std()),
        kurtosis=0.0 if constant else float(stats.kurtosis(flat)),
        distance=float(stats.kstest(flat, "norm", method="asymp").statistic),
        edges=edges,
        density=density,
        expected=expected,
        measured=np.quantile(flat, stats.norm.cdf(expected)),
    )


def mix(latent: Tensor, other: Tensor, share: float) -> Tensor:
    """`share` of the way from one latent to another, (M, N) and (M, N'), along the arc that keeps it standard normal.

    The other is repeated or cut to the length of the first.
    """
    repeats = -(-latent.shape[-1] // other.shape[-1])
    other = other.repeat(1, repeats)[:, : latent.shape[-1]]
    angle = 0.5 * math.pi * share
    return math.cos(angle) * latent + math.sin(angle) * other


@dataclasses.dataclass(frozen=True)
class FrameLikelihood:
    """A recording's likelihood over time.

    Attributes:
        nats: log-density of each frame, (F,).
        energy: mean square of the latent in each frame, (F,): 1 if the frame is what the model expects of its mel, more
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
    latent, _ = vocoder.encode(whole, (vocoder.mel(audio) if mel is None else mel)[..., :frames])
    energy = latent[0].double().square().mean(0).view(frames, -1).mean(1).cpu()
    return FrameLikelihood(nats.numpy(), energy.numpy())
