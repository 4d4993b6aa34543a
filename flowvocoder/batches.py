"""Mels of different lengths in one synthesis, in which each comes out as it does alone."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from flowvocoder.audio.files import Samples
from flowvocoder.inference import on_cpu
from flowvocoder.mel.files import Mel
from flowvocoder.vocoder import Vocoder

T = TypeVar("T")

MOST = 64
"""Items in a batch."""

MOST_BYTES = 2**26
"""Of the mels in a batch, all as long as the longest."""


def buckets(items: Sequence[T], size: Callable[[T], int], most: int = MOST) -> list[list[T]]:
    """Batches of items of about the same size in bytes, the smallest first: little is lost by filling them up.

    >>> buckets([5, 90, 6, 91, 7], lambda size: size, most=3)
    [[5, 6, 7], [90, 91]]
    """
    made: list[list[T]] = []
    for item in sorted(items, key=size):
        if not made or len(made[-1]) == most or (len(made[-1]) + 1) * size(item) > MOST_BYTES:
            made.append([])
        made[-1].append(item)
    return made


def together(
    vocoder: Vocoder,
    mels: Sequence[Mel],
    seeds: Sequence[int],
    temperature: float | None = None,
    after_piece: Callable[[], object] = lambda: None,
    **given: Any,
) -> list[Samples]:
    """Audio (F * hop_length,) of mels (n_mels, F) of one convention.

    One mel gives what it gives alone, bit by bit. Of several, products of another shape are rounded otherwise, which
    the low-band iterations amplify: samples are within 1e-3 of those alone, as those of streams are.

    Args:
        seeds: of each.
        after_piece: called after each piece of the synthesis; may raise to end it.
        given: as `Vocoder.synthesize` takes it. Raises what that does.
    """
    lengths = [mel.shape[1] for mel in mels]
    padded = np.zeros((len(mels), len(mels[0]), max(lengths)), np.float32)
    for row, mel in zip(padded, mels, strict=True):
        row[:, : mel.shape[1]] = mel
    made = []
    for piece in vocoder.synthesize_pieces(
        padded, temperature, seed=seeds, lengths=lengths if len(mels) > 1 else None, **given
    ):
        made.append(on_cpu(piece).numpy())
        after_piece()
    hop = vocoder.spec.hop_length
    return [row[: n * hop] for row, n in zip(np.concatenate(made, 1), lengths, strict=True)]
