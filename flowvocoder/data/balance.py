"""How often each speaker is heard."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flowvocoder.config import DataSettings


def weights(voices: Sequence[str], places: npt.NDArray[np.int64], settings: DataSettings) -> npt.NDArray[np.float64]:
    """How much more often than by its length each recording is to be drawn, (N,).

    Each speaker's share is proportional to a power of its length (Conneau et al. 2020, arXiv:1911.02116, do so with
    languages), but to no more than `repeat` times its length. Within a speaker recordings are drawn by length.

    Args:
        voices: who speaks in each recording (N,).
        places: where segments may begin in each (N,).
    """
    if settings.balance == 1.0:
        return np.ones(len(voices))
    names, speaker = np.unique(np.asarray(voices, dtype=object).astype(str), return_inverse=True)
    by_length = np.bincount(speaker, places, minlength=len(names))
    present = by_length > 0
    by_length = by_length[present] / by_length.sum()
    wanted, most = by_length**settings.balance, settings.repeat * by_length
    capped = np.zeros(len(wanted), dtype=bool)
    while True:
        rest = max(0.0, 1.0 - most[capped].sum())
        share = np.where(capped, most, rest * wanted / max(wanted[~capped].sum(), 1e-300))
        over = ~capped & (share > most)
        if not over.any():
            break
        capped |= over
    factor = np.zeros(len(names))
    factor[present] = share / share.sum() / by_length
    return factor[speaker]
