"""Whether a voice made a recording from the noise of a seed."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from flowvocoder.errors import AudioError
from flowvocoder.vocoder import Vocoder

FALSE_ALARMS = 1e-6
"""Chance of calling what a voice did not make its own."""

SEARCHED = 60.0
"""Seconds of the synthesis that may have been cut off before the recording."""

TOGETHER = 32
"""Places within a frame that are looked at together."""

PIECE = 1.0
"""Seconds whose latent is looked for in the noise."""

LARGEST = 3.0
"""Latent values count as no more than this, so that a few loud ones do not outvote the rest."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """What correlating a recording's latent with the noise of a seed showed.

    Attributes:
        statistic: standard normal if the noise had no part in the recording, whatever the recording is.
        correlation: of latent and noise, in -1..1.
        offset: sample of the synthesis that the recording begins with; None: nothing was found.
        trials: places at which it was looked for.
    """

    statistic: float
    correlation: float
    offset: int | None
    trials: int

    @property
    def log10_p(self) -> float:
        """Logarithm to base 10 of the chance of so large a statistic in one of the trials without that noise."""
        return min(0.0, _log_tail(self.statistic) / math.log(10.0) + math.log10(self.trials))


def prove(vocoder: Vocoder, audio: Tensor, seed: int, mel: Tensor | None = None, false_alarms: float = FALSE_ALARMS,
          cut: bool = True, watch: Callable[[range], Iterable[int]] = iter) -> Proof:  # fmt: skip
    """Whether `vocoder.synthesize(..., seed=seed)` made audio (T,) at the voice's rate.

    Noise of a seed is independent of all that was made without it. The sum of latent times noise, over the latent's
    norm, is then exactly standard normal, so that the rate of false alarms is known and not estimated.

    Args:
        mel: (n_mels, F), which the audio was made from; None: its own, which is nearly that.
        false_alarms: chance of calling it proven in vain.
        cut: look for audio of which the beginning was cut off, too, where it is not proven as it stands: 20 s of work.
        watch: passes on the parts of that work, as `progress` does.

    Raises:
        AudioError: shorter than a frame, or all samples the same.
    """
    hop = vocoder.spec.hop_length
    frames = len(audio) // hop
    if not frames:
        raise AudioError(f"{len(audio)} samples are too few: {hop} at least")
    if bool(audio.min() == audio.max()):
        raise AudioError("all samples are the same: nothing speaks for or against anybody")
    z = _latent(vocoder, audio[None, : frames * hop], mel)[0]
    noise = _noise(vocoder, seed, z.shape[1])
    found = Proof(*_compared(z, noise), 0, 1)
    if found.log10_p <= math.log10(false_alarms) or not cut:
        return found if found.log10_p <= math.log10(false_alarms) else dataclasses.replace(found, offset=None)
    return _searched(vocoder, audio, seed, false_alarms, watch)


def _searched(
    vocoder: Vocoder, audio: Tensor, seed: int, false_alarms: float, watch: Callable[[range], Iterable[int]]
) -> Proof:
    """The best of all places up to `SEARCHED` seconds: the loudest second is tried at each sample of a frame."""
    hop, rate = vocoder.spec.hop_length, vocoder.sample_rate
    size = min(len(audio) - hop, round(PIECE * rate)) // hop * hop
    if size < hop:
        return Proof(0.0, 0.0, None, 1)
    power = audio[: len(audio) - hop].square().unfold(0, size, hop).mean(1)
    begin = int(power.argmax()) * hop
    blocks = hop // vocoder.model.block
    noise = _noise(vocoder, seed, (math.ceil(SEARCHED * rate / hop) + size // hop) * blocks)
    best, trials = Proof(-math.inf, 0.0, None, 1), 0
    starts = range(begin, begin + hop)
    for first in watch(range(0, hop, TOGETHER)):
        some = starts[first : first + TOGETHER]
        latents = _latent(vocoder, torch.stack([audio[start : start + size] for start in some]), None)
        for start, z in zip(some, latents, strict=True):
            width = z.shape[1]
            products = z.T @ noise  # (width, N): the sums lie on its diagonals
            ahead = products.shape[1] - width + 1
            sums = torch.stack([products[k, k : k + ahead] for k in range(width)]).sum(0)[::blocks] / z.norm()
            trials += len(sums)
            top = int(sums.argmax())
            if float(sums[top]) > best.statistic:
                here = noise[:, top * blocks : top * blocks + width]
                best = Proof(float(sums[top]), float(sums[top] / here.norm()), top * hop - start, 1)
    proof = dataclasses.replace(best, trials=trials)
    return proof if proof.log10_p <= math.log10(false_alarms) else dataclasses.replace(proof, offset=None)


def _latent(vocoder: Vocoder, audio: Tensor, mel: Tensor | None) -> Tensor:
    """(B, T) -> (B, M, N), every frame as strong as the others, for silence amplifies rounding."""
    frames = audio.shape[1] // vocoder.spec.hop_length
    given = vocoder.mel_for(audio) if mel is None else mel
    z = vocoder.encode(audio, given[..., :frames])[0].double().cpu()
    return (z / z.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)).clamp(-LARGEST, LARGEST)


def _noise(vocoder: Vocoder, seed: int, columns: int) -> Tensor:
    blocks = vocoder.spec.hop_length // vocoder.model.block
    mel = torch.zeros(vocoder.spec.n_mels, -(-columns // blocks))
    return vocoder.draw_noise(mel, 1.0, seed)[0, :, :columns].double().cpu()


def _compared(z: Tensor, noise: Tensor) -> tuple[float, float]:
    total = float((z * noise).sum() / z.norm().clamp_min(1e-12))
    return total, total / float(noise.norm())


def _log_tail(x: float) -> float:
    """ln P(N(0, 1) > x), also where it is far below the smallest number."""
    from scipy import stats

    return float(stats.norm.logsf(x))
