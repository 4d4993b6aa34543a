"""A convolutional network that tells damages and clean speech apart by their spectrograms."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from flowvocoder.anomaly.spectrograms import BANDS, EVERY, FINE, TOP
from flowvocoder.progress import progress

if TYPE_CHECKING:
    from flowvocoder.anomaly.examples import Example

CHANNELS = 16, 32, 48, 64
"""Of the four convolutions that look at a part of the spectrogram."""

WIDTH, DROPOUT = 128, 0.3
"""Channels over time; the share of them that training leaves out."""

PASSES, BATCH, RATE, WARM_UP, DECAY = 8, 32, 2e-3, 100, 0.05
"""Of the training by AdamW with a cosine schedule: times that an example is seen, examples of a step at most."""

LENGTHS = 40, 70, 100, 140, 180
"""Spectra of an example in training: 0.9 to 4 s."""

FRAMES_A_STEP = 2240
"""Spectra of all examples of a step."""

TILT, NOISE = 0.25, 0.1
"""Deviations of nats an octave, and of nats of each value, against learning microphones and examples by heart."""

SMOOTHING = 0.02
"""Of the labels."""

SHARE = 1 / 8
"""Of examples with any one damage to clean ones, which the odds are for."""

Array = npt.NDArray[np.float64]


class Convolution(nn.Module):
    """Over time, or over frequency and time, with SiLU after it; `training`: and batch normalisation between."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, stride: Any, training: bool):
        super().__init__()
        kind, norm = (nn.Conv1d, nn.BatchNorm1d) if len(kernel) == 1 else (nn.Conv2d, nn.BatchNorm2d)
        padding: Any = tuple(k // 2 for k in kernel)
        self.convolution = kind(inputs, outputs, kernel, stride, padding, bias=not training)
        self.norm = norm(outputs) if training else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, [frequencies,] T) -> (B, outputs, [fewer,] T or fewer)."""
        y = self.convolution(x)
        return F.silu(y if self.norm is None else self.norm(y))


class SpectrogramNetwork(nn.Module):
    """Scores of K damages and of clean speech, for a spectrogram of at least one spectrum.

    Convolutions over frequency and time look at each part, two more over time at what they found. Its mean, highest
    value and deviation over time are scored.

    Args:
        damages: K.
        training: with batch normalisation (Ioffe and Szegedy 2015), which `folded` takes out.

    Shape:
        log power (B, T, `len(SPECTROGRAM)`) -> (B, K + 1), clean speech last
    """

    def __init__(self, damages: int, training: bool = False):
        super().__init__()
        self.damages = damages

        def tall() -> nn.Module:
            first, second, third, fourth = CHANNELS
            return nn.Sequential(
                Convolution(1, first, (5, 3), (2, 1), training),
                Convolution(first, second, (5, 3), (2, 2), training),
                Convolution(second, third, (3, 3), (2, 1), training),
                Convolution(third, fourth, (3, 3), (2, 2), training),
            )

        self.fine, self.bands = tall(), tall()
        self.top = nn.Sequential(
            Convolution(1, 16, (3, 3), (2, 2), training), Convolution(16, 32, (3, 3), (2, 2), training)
        )
        self.of_fine = nn.Linear(CHANNELS[-1] * FINE // 16, WIDTH)
        self.of_bands = nn.Linear(CHANNELS[-1] * BANDS // 16, WIDTH // 2)
        self.of_top = nn.Linear(32 * TOP // 4, WIDTH // 2)
        self.over_time = nn.Sequential(
            Convolution(2 * WIDTH, WIDTH, (3,), (1,), training), Convolution(WIDTH, WIDTH, (3,), (1,), training)
        )
        self.scores, self.dropout = nn.Linear(3 * WIDTH, damages + 1), nn.Dropout(DROPOUT)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "SpectrogramNetwork":
        """With weights of `folded`. Raises KeyError, RuntimeError: not all are there, or some are of other shapes."""
        with torch.random.fork_rng(devices=[]):  # what is drawn here is replaced at once
            network = cls(weights["scores.weight"].numel() // (3 * WIDTH) - 1).eval()  # no larger than what is given
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
        return network

    def forward(self, x: Tensor) -> Tensor:
        """Scores whose differences are log-odds."""
        fine, bands, top = x.split([FINE, BANDS, TOP], 2)
        loudest = bands.logsumexp(2).amax(1)[:, None, None]
        fine, bands = (fine - loudest + 8.0) / 4.0, (bands - loudest + 8.0) / 4.0
        top = (top - top[:, :, :4].mean((1, 2), keepdim=True)) / 4.0
        found = [
            linear(look(part.transpose(1, 2)[:, None]).flatten(1, 2).transpose(1, 2))
            for part, look, linear in (
                (fine, self.fine, self.of_fine), (bands, self.bands, self.of_bands), (top, self.top, self.of_top)
            )
        ]  # fmt: skip
        y = self.over_time(F.silu(self.dropout(torch.cat(found, 2))).transpose(1, 2))
        pooled = torch.cat([y.mean(2), y.amax(2), (y.var(2, correction=0) + 1e-6).sqrt()], 1)
        scores: Tensor = self.scores(self.dropout(pooled))
        return scores

    def log_odds(self, columns: npt.NDArray[np.floating]) -> Array:
        """Of columns (F, `len(SPECTROGRAM)`) of all frames: each damage against clean speech, (K,)."""
        with torch.inference_mode():
            scores = self(torch.from_numpy(np.ascontiguousarray(columns[::EVERY], np.float32))[None])[0].double()
        return np.asarray((scores[:-1] - scores[-1]).numpy())


def train(examples: "Sequence[Example]", damages: int, seed: int) -> SpectrogramNetwork:
    """Fits a network.

    Args:
        examples: spectra (T, `len(SPECTROGRAM)`), `EVERY` frames apart, and which of the damages was done: -1 for none.
        damages: K.
        seed: of the first weights, and of what is seen when.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([one.damage if one.damage >= 0 else damages for one in examples])
    sizes = np.array([len(one.features) for one in examples])
    groups = [(n, np.flatnonzero(sizes >= n)) for n in LENGTHS]
    groups = [(n, group) for n, group in groups if len(group)] or [(int(sizes.min()), np.arange(len(sizes)))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SpectrogramNetwork(damages, training=True)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        steps = max(1, PASSES * len(examples) // BATCH)
        for step in progress(range(steps), "fit", "spectrograms"):
            optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * _cosine(step / steps)
            length, group = groups[int(rng.integers(len(groups)))]
            chosen = rng.choice(group, max(2, min(BATCH, FRAMES_A_STEP // length)))
            seen = torch.stack([_seen(examples[i].features, length, rng) for i in chosen])
            with torch.autocast("cpu", torch.bfloat16):
                scores = network(seen + NOISE * torch.randn_like(seen))
            loss = F.cross_entropy(scores.float(), torch.from_numpy(labels[chosen]), label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    counts = np.bincount(labels, minlength=damages + 1)
    return folded(network, torch.from_numpy(np.log(SHARE * counts[-1] / np.maximum(counts[:-1], 1))))


def _cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * share))


def _seen(spectra: npt.NDArray[np.floating], length: int, rng: np.random.Generator) -> Tensor:
    """A stretch, through another microphone."""
    first = int(rng.integers(len(spectra) - length + 1))
    tilt = rng.normal(0.0, TILT) * _octaves()
    return torch.from_numpy(spectra[first : first + length].astype(np.float32) + tilt)


def _octaves() -> npt.NDArray[np.float32]:
    """Of each column, roughly, above 1 kHz."""
    fine = np.log2(np.arange(FINE) * 10.77 + 30.0)
    bands = np.log2(np.linspace(1.0, 11.0, BANDS) * 1000.0)
    return np.asarray(np.concatenate([fine, bands, np.full(TOP, 13.0)]) - 10.0, np.float32)


def folded(network: SpectrogramNetwork, more: Tensor) -> SpectrogramNetwork:
    """The same function of one that was trained, without batch normalisation, with `more` (K,) added to the damages."""
    network.eval()
    weights = network.state_dict()
    for name, part in network.named_modules():
        if isinstance(part, Convolution) and part.norm is not None:
            fused = fuse_conv_bn_eval(part.convolution, part.norm)
            weights |= {f"{name}.convolution.weight": fused.weight, f"{name}.convolution.bias": fused.bias}
    weights["scores.bias"] = weights["scores.bias"].clone()
    weights["scores.bias"][:-1] += more
    return SpectrogramNetwork.of(weights)
