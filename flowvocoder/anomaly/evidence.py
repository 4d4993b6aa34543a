"""From features to evidence: networks that tell damages and clean speech apart, and lines that say where.

A line is high where samples cannot be speech; how rare its highest value is in clean speech is what it says. Four are
of samples alone. Two, for clicks and splices, are what another network makes of the candidates in each frame.
Trees judge the band edge of a piece, and its lines that stay. What is pooled of the features of a piece is judged by
one network, its spectrogram by another.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flowvocoder.anomaly.discontinuities import BREAKS
from flowvocoder.anomaly.features import (
    BREAK_COLUMNS,
    EDGE,
    NAMES,
    SIGNAL_COLUMNS,
    SPECTRUM_COLUMNS,
    STEADY_COLUMNS,
)
from flowvocoder.anomaly.signals import SIGNALS
from flowvocoder.anomaly.spectrogram_network import SpectrogramNetwork
from flowvocoder.anomaly.spectrogram_network import train as train_on_spectrograms
from flowvocoder.anomaly.trees import Trees, grow
from flowvocoder.progress import progress

if TYPE_CHECKING:
    from flowvocoder.anomaly.examples import Example, Training

LINES = {**SIGNALS, **{kind: kind for kind in BREAKS}}
"""By name, with the kind that each speaks for."""

EDGE_KIND = "speed"
"""What a band edge speaks for."""

FURTHEST = 8.0
"""Deviations that a feature counts; beyond, it is as far away as anything."""

FURTHEST_GIVEN = 6.0
"""The same of what a network is given."""

MEMBERS, HIDDEN = 3, 256
"""Networks whose outputs are averaged (Lakshminarayanan et al. 2017), and the units of each."""

EPOCHS, FEWEST_STEPS, MOST_STEPS, BATCH, DECAY = 240, 100, 8000, 256, 1e-2
"""Of the training of one, by AdamW with a cosine schedule."""

SMOOTHING = 0.02
"""Of the labels."""


class Care(NamedTuple):
    """Against learning examples by heart: noise on the inputs, in deviations; dropout of hidden units, and half as much
    of inputs; and the learning rate."""

    noise: float
    dropout: float
    rate: float


FEW, MANY = Care(0.3, 0.5, 1e-3), Care(0.1, 0.2, 2e-3)
"""For some thousand pieces, and for candidates. Chosen on the speakers held out."""

MOST = 20.0
"""Log-odds are no further from 0."""

TRUST = 0.6
"""The part that the network of spectrograms has in log-odds which both give. Chosen on the speakers held out."""

PLAYED = 0.3
"""Of pieces played at another rate to clean ones, for the trees; half and half of the band edges that they learn from.
Chosen in the same way: they are careful."""

TRUST_STEADY, STAYING = 0.5, 1 / 2
"""The part that lines which stay have in log-odds of tones and hum; and of pieces with them to clean ones, which are as
many among the examples. Chosen on the speakers held out."""

RARE = 0.02
"""The share of clean pieces in which evidence of 1 or more is seen, and of 0 or more in half of them."""

LEAST = (0.5, 0.5, 2.0, 3.0, 2.0, 2.0)
"""How much more than usual is rare, at least, for each line. Speech in quiet studios copies itself more closely than
that of the speakers held out, and its peaks have less noise on them."""

SLOPE = 2.0
"""How much faster lines fall off in clean speech than exponentially: chosen on the speakers held out."""

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Network:
    """Networks of one hidden layer of SiLU, M units in all, whose outputs are averaged.

    Attributes:
        middle, scale: of the D inputs.
        first, second: weights (M, D + 1) and (N, M + 1), the constants last.
    """

    middle: Array
    scale: Array
    first: Array
    second: Array

    def __call__(self, x: Array) -> Array:
        """(..., D) -> (..., N), the last of them less: log-odds of all others against it, (..., N - 1)."""
        given = ((x - self.middle) / self.scale).clip(-FURTHEST_GIVEN, FURTHEST_GIVEN)
        hidden = _apply(self.first, given)
        outputs = _apply(self.second, hidden / (1.0 + np.exp(-hidden)))
        return np.asarray(outputs[..., :-1] - outputs[..., -1:])


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Weights for N damages and D features, and what is usual of K lines.

    Attributes:
        middle, scale: of the features, (D,).
        pieces: of what is pooled of them, (4 D,), to the N damages and clean speech.
        breaks: of the candidates for discontinuities to `BREAKS` and none.
        edges: of a piece's band edge, to log-odds of `EDGE_KIND`.
        tones, hums: of its lines that stay, to those of a tone and of hum.
        stay: the numbers of these two damages among the N, (2,).
        spectra: of a spectrogram, to S damages.
        seen: the numbers of these among the N, (S,).
        prior: of each of the N, how much likelier it is than others, as a logarithm, (N,).
        usual: the highest of a line in a clean piece, (K, 2): its median, and how far above that `RARE` ones are.
    """

    middle: Array
    scale: Array
    pieces: Network
    breaks: Network
    edges: Trees
    tones: Trees
    hums: Trees
    stay: Array
    spectra: SpectrogramNetwork
    seen: Array
    prior: Array
    usual: Array

    def of_piece(self, x: Array) -> Array:
        """Columns (F, `len(FEATURES)`) to log-odds (N + 1 + K,) of damages, edge and lines.

        Those of a line are even where it is rare.
        """
        lines = SLOPE * (self.of_frames(x).max(0) - 1.0) * np.log(0.5 / RARE)
        edges = self.edges(x[:, EDGE].mean(0)[None]) + np.log(PLAYED)
        damages, seen = self.pieces(self.pooled(x)), self.seen.astype(np.int64)
        damages[seen] += TRUST * (self.spectra.log_odds(x[:, SPECTRUM_COLUMNS]) - damages[seen])
        stays, stay = x[:, STEADY_COLUMNS].mean(0)[None], self.stay.astype(np.int64)
        steady = np.concatenate([trees(stays) for trees in (self.tones, self.hums)]) + np.log(STAYING)
        damages[stay] += TRUST_STEADY * (steady - damages[stay])
        return np.concatenate([damages + self.prior, edges, lines]).clip(-MOST, MOST)

    def of_frames(self, x: Array) -> Array:
        """Columns (F, `len(FEATURES)`) to what each line says of each frame, (F, K): 1 is rare in clean speech."""
        return (self.lines(x) - self.usual[:, 0]) / self.usual[:, 1]

    def lines(self, x: Array) -> Array:
        """Columns (F, `len(FEATURES)`) to lines (F, K)."""
        return np.concatenate([x[:, SIGNAL_COLUMNS], self.breaks(x[:, BREAK_COLUMNS])], 1)

    def pooled(self, x: Array) -> Array:
        """Mean, both ends and deviation of all frames: (F, `len(FEATURES)`) -> (4 D,)."""
        y = FURTHEST * np.tanh((x[:, : len(NAMES)] - self.middle) / (FURTHEST * self.scale))
        return np.concatenate([y.mean(0), y.max(0), y.min(0), y.std(0)])

    def calibrated(self, clean: "Sequence[Example]") -> "Evidence":
        """With what is usual of clean examples."""
        tops = np.array([self.lines(e.features.astype(np.float64)).max(0) for e in clean])
        middle = np.median(tops, 0)
        spread = np.maximum(np.quantile(tops, 1.0 - RARE, axis=0) - middle, LEAST)
        return dataclasses.replace(self, usual=np.stack([middle, spread], 1))


def _apply(weights: Array, x: Array) -> Array:
    return np.asarray(x @ weights[:, :-1].T + weights[:, -1])


def train(learned: "Training", clean: "Sequence[Example]", seen: Sequence[int], stay: Sequence[int],
          prior: Sequence[float], seed: int) -> Evidence:  # fmt: skip
    """Fits the networks.

    Args:
        learned: to learn from.
        clean: of other speakers, which tell what is usual.
        seen, stay: the numbers of those that the spectrograms show, and the lines that stay.
        prior: as of `Evidence`.
        seed: of the networks' first weights and of what they are shown.
    """
    rows = np.concatenate([e.features[::7, : len(NAMES)].astype(np.float64) for e in learned.pieces])
    nothing, none, no_trees = np.zeros((0, 0)), Network(*[np.zeros((0, 0))] * 4), Trees(*[np.zeros((0, 0))] * 4)
    spectra, numbers = train_on_spectrograms(learned.spectra, len(seen), seed), np.array(seen, np.float64)
    scaled = Evidence(np.median(rows, 0), rows.std(0) + 1e-2, none, none, no_trees, no_trees, no_trees,
                      np.array(stay, np.float64), spectra, numbers, np.array(prior), nothing)  # fmt: skip
    pooled = np.array([scaled.pooled(e.features.astype(np.float64)) for e in learned.pieces])
    pieces = _network("pieces", pooled, np.array([e.damage for e in learned.pieces]), len(prior), seed, FEW)
    breaks = _network("discontinuities", *_rows(learned.breaks), len(BREAKS), seed, MANY, rare=True)
    bands, played = _rows(learned.edges)
    edges = grow("band edges", bands, played >= 0, seed)
    stays, kinds = _rows(learned.steady)
    mine = [(kinds < 0) | (kinds == number) for number in range(2)]
    tones, hums = (
        grow(name, stays[own], kinds[own] >= 0, seed) for name, own in zip(("tones", "hum"), mine, strict=True)
    )
    scaled = dataclasses.replace(scaled, pieces=pieces, breaks=breaks, edges=edges, tones=tones, hums=hums)
    return scaled.calibrated(clean)


def _rows(examples: "Sequence[Example]") -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """All rows, and what each is."""
    kinds = np.repeat([e.damage for e in examples], [len(e.features) for e in examples])
    return np.concatenate([e.features for e in examples]), kinds


def _network(
    name: str, x: npt.NDArray[Any], found: npt.NDArray[np.int64], kinds: int, seed: int, care: Care, rare: bool = False
) -> Network:
    """Of rows (R, D), each of one of `kinds` or of none, -1; `rare`: half of those drawn are of kinds."""
    middle, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64) + 1e-3
    given = ((x - middle) / scale).clip(-FURTHEST_GIVEN, FURTHEST_GIVEN).astype(np.float32)
    labels = np.where(found < 0, kinds, found)
    groups = [np.flatnonzero(labels == kind) for kind in range(kinds)]
    draws = [group for group in groups if len(group)] if rare else []
    members = [
        _member(given, labels, kinds + 1, draws, care, seed + member)
        for member in progress(range(MEMBERS), "fit", name)
    ]
    first = np.concatenate([one for one, _ in members])
    second = np.concatenate([*(two[:, :-1] for _, two in members), sum(two[:, -1:] for _, two in members)], 1)
    return Network(middle, scale, first, second / MEMBERS)


def _member(given: npt.NDArray[np.float32], found: npt.NDArray[np.int64], kinds: int,
            groups: "list[npt.NDArray[np.int64]]", care: Care, seed: int) -> tuple[Array, Array]:  # fmt: skip
    """Both layers of one, with their constants. Half of the rows drawn are of groups (G,), of each as many."""
    import torch
    import torch.nn.functional as F

    noise = torch.Generator().manual_seed(seed)
    rows, labels, others = torch.from_numpy(given), torch.from_numpy(found), [torch.from_numpy(g) for g in groups]

    def layer(inputs: int, outputs: int) -> torch.Tensor:
        weights = torch.randn(outputs, inputs + 1, generator=noise) / (3.0 * inputs) ** 0.5
        return weights.requires_grad_()

    def dropped(values: torch.Tensor, share: float) -> torch.Tensor:
        return values * (torch.rand(values.shape, generator=noise) >= share) / (1.0 - share)

    def drawn() -> torch.Tensor:
        each = BATCH // (2 * len(others)) if others else 0
        picked = [group[torch.randint(len(group), (each,), generator=noise)] for group in others]
        return torch.cat([torch.randint(len(rows), (BATCH - each * len(others),), generator=noise), *picked])

    first, second = layer(rows.shape[1], HIDDEN), layer(HIDDEN, kinds)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, EPOCHS * len(rows) // BATCH))
    optimiser = torch.optim.AdamW([first, second], care.rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        chosen = drawn()
        some = rows[chosen] + care.noise * torch.randn(len(chosen), rows.shape[1], generator=noise)
        hidden = F.silu(dropped(some, care.dropout / 2) @ first[:, :-1].T + first[:, -1])
        outputs = dropped(hidden, care.dropout) @ second[:, :-1].T + second[:, -1]
        loss = F.cross_entropy(outputs, labels[chosen], label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return first.detach().double().numpy(), second.detach().double().numpy()
