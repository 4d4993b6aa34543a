"""From features to evidence: a network that tells damages and clean speech apart, and the lines of signal evidence.

A line says how rare its highest value is in clean speech.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flowvocoder.anomaly.features import NAMES
from flowvocoder.progress import progress

if TYPE_CHECKING:
    from flowvocoder.anomaly.examples import Example

FURTHEST = 8.0
"""Deviations that a feature counts; beyond, it is as far away as anything."""

FURTHEST_POOLED = 6.0
"""The same of what is pooled of them."""

MEMBERS, HIDDEN = 3, 128
"""Networks whose outputs are averaged (Lakshminarayanan et al. 2017), and the units of each."""

EPOCHS, FEWEST_STEPS, BATCH, RATE, DECAY = 120, 100, 256, 1e-3, 1e-2
"""Of the training of one, by AdamW with a cosine schedule."""

NOISE, DROPOUT, SMOOTHING = 0.3, 0.5, 0.02
"""Against learning some thousand examples by heart: on the inputs, in deviations; of the hidden units, and half as much
of the inputs; of the labels. Chosen on the speakers held out."""

MOST = 20.0
"""Log-odds are no further from 0."""

RARE = 0.02
"""The share of clean pieces in which evidence of 1 or more is seen, and of 0 or more in half of them."""

LEAST = (0.5, 0.5, 2.0, 1.8, 3.0)
"""How much more than usual is rare, at least, for each line. Speech in quiet studios copies itself more closely than
that of the speakers held out, and its peaks have less noise on them."""

SLOPE = 2.0
"""How much faster lines fall off in clean speech than exponentially: chosen on the speakers held out."""

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Weights of the network, for N damages and D features; and what is usual of K lines.

    Attributes:
        middle, scale: of the features, (D,).
        pooled_middle, pooled_scale: of what is pooled of them, (4 D,).
        first, second: weights (M, 4 D + 1) and (N + 1, M + 1) of the two layers, the constants last; the last of the
            outputs is clean speech.
        usual: the highest of a line in a clean piece, (K, 2): its median, and how far above that `RARE` ones are.
    """

    middle: Array
    scale: Array
    pooled_middle: Array
    pooled_scale: Array
    first: Array
    second: Array
    usual: Array

    def of_piece(self, x: Array) -> Array:
        """Features and lines (F, D + K) to log-odds (N + K,) of each damage and line; even where a line is rare."""
        given = ((self.pooled(x) - self.pooled_middle) / self.pooled_scale).clip(-FURTHEST_POOLED, FURTHEST_POOLED)
        hidden = _apply(self.first, given)
        outputs = _apply(self.second, hidden / (1.0 + np.exp(-hidden)))
        lines = SLOPE * (self.of_frames(x).max(0) - 1.0) * np.log(0.5 / RARE)
        return np.concatenate([outputs[:-1] - outputs[-1], lines]).clip(-MOST, MOST)

    def of_frames(self, x: Array) -> Array:
        """Features and lines (F, D + K) to what each line says of each frame, (F, K): 1 is rare in clean speech."""
        return (x[:, len(self.middle) :] - self.usual[:, 0]) / self.usual[:, 1]

    def pooled(self, x: Array) -> Array:
        """Mean, both ends and deviation of all frames: (F, D + K) -> (4 D,)."""
        y = FURTHEST * np.tanh((x[:, : len(self.middle)] - self.middle) / (FURTHEST * self.scale))
        return np.concatenate([y.mean(0), y.max(0), y.min(0), y.std(0)])

    def calibrated(self, clean: "Sequence[Example]") -> "Evidence":
        """With what is usual of clean examples."""
        tops = np.array([e.features[:, len(self.middle) :].max(0) for e in clean], np.float64)
        middle = np.median(tops, 0)
        spread = np.maximum(np.quantile(tops, 1.0 - RARE, axis=0) - middle, LEAST)
        return dataclasses.replace(self, usual=np.stack([middle, spread], 1))


def _apply(weights: Array, x: Array) -> Array:
    return np.asarray(weights[:, :-1] @ x + weights[:, -1])


def train(examples: "Sequence[Example]", clean: "Sequence[Example]", damages: int, seed: int) -> Evidence:
    """Fits the network.

    Args:
        examples: to learn from.
        clean: of other speakers, which tell what is usual.
        damages: N.
        seed: of the networks' first weights and of what they are shown.
    """
    rows = np.concatenate([e.features[::7, : len(NAMES)].astype(np.float64) for e in examples])
    nothing = np.zeros((0, 0))
    scaled = Evidence(np.median(rows, 0), rows.std(0) + 1e-2, *[nothing] * 5)
    x = np.array([scaled.pooled(e.features.astype(np.float64)) for e in examples])
    middle, scale = x.mean(0), x.std(0) + 1e-3
    found = np.array([e.damage if e.damage >= 0 else damages for e in examples])
    members = progress(range(MEMBERS), "fit", "network")
    layers = [_network((x - middle) / scale, found, damages + 1, seed + member) for member in members]
    first = np.concatenate([one for one, _ in layers])
    second = np.concatenate([*(two[:, :-1] for _, two in layers), sum(two[:, -1:] for _, two in layers)], 1) / MEMBERS
    evidence = dataclasses.replace(scaled, pooled_middle=middle, pooled_scale=scale, first=first, second=second)
    return evidence.calibrated(clean)


def _network(x: Array, found: npt.NDArray[np.int64], kinds: int, seed: int) -> tuple[Array, Array]:
    """Both layers of one, with their constants."""
    import torch
    import torch.nn.functional as F

    noise = torch.Generator().manual_seed(seed)
    given = torch.from_numpy(x).float().clamp(-FURTHEST_POOLED, FURTHEST_POOLED)
    labels = torch.from_numpy(found)

    def layer(inputs: int, outputs: int) -> torch.Tensor:
        weights = torch.randn(outputs, inputs + 1, generator=noise) / (3.0 * inputs) ** 0.5
        return weights.requires_grad_()

    def dropped(values: torch.Tensor, share: float) -> torch.Tensor:
        return values * (torch.rand(values.shape, generator=noise) >= share) / (1.0 - share)

    first, second = layer(given.shape[1], HIDDEN), layer(HIDDEN, kinds)
    steps = max(FEWEST_STEPS, EPOCHS * len(x) // BATCH)
    optimiser = torch.optim.AdamW([first, second], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = torch.randint(len(given), (BATCH,), generator=noise)
        some = given[chosen] + NOISE * torch.randn(BATCH, given.shape[1], generator=noise)
        hidden = F.silu(dropped(some, DROPOUT / 2) @ first[:, :-1].T + first[:, -1])
        outputs = dropped(hidden, DROPOUT) @ second[:, :-1].T + second[:, -1]
        loss = F.cross_entropy(outputs, labels[chosen], label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return first.detach().double().numpy(), second.detach().double().numpy()
