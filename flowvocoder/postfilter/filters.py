"""The filters of bands as machine code reads them: of every band a few bins, of every bin two bands."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flowvocoder.units import LANES, ceil_div


class Filters(NamedTuple):
    """What `MelConsistency` holds as matrices that are zero but for two numbers a bin.

    Attributes:
        first: the first bin of every band, LANES bands a row: (G, LANES).
        widths: bins of the widest band of each row, (G,).
        weights: of these bins, row after row, zero after the last of a band: (sum of widths, LANES).
        below: of every bin the lower one of the two bands that it lies between, (K,).
        lower, upper: how much of the gain of that band and of the next one the bin takes, (K,).
        most: the largest gain of every band, in nats, (C,).
        limits: the least gain, the lowest level, and what is added to the power of a bin, (3,).
    """

    first: Any
    widths: Any
    weights: Any
    below: Any
    lower: Any
    upper: Any
    most: Any
    limits: Any


def filters(
    filterbank: npt.NDArray[np.float32],
    to_bins: npt.NDArray[np.float32],
    most: npt.NDArray[np.float32],
    limits: tuple[float, float, float],
    spectrum: int,
) -> Filters:
    """The same from matrices, with bins in whole LANES where the spectrum has so many.

    Args:
        filterbank: (bins, C), to_bins: (C, bins).
        spectrum: bins that a spectrum has.

    Raises:
        ValueError: a bin takes the gains of bands that are no neighbours.
    """
    bins, bands = filterbank.shape
    rows, used = ceil_div(bands, LANES), filterbank > 0
    first, width = np.zeros(rows * LANES, np.uint64), np.zeros(rows * LANES, np.int64)
    first[:bands] = used.argmax(0)
    width[:bands] = np.where(used.any(0), bins - used[::-1].argmax(0) - used.argmax(0), 0)
    widths = width.reshape(rows, LANES).max(1)
    weights = np.zeros((widths.sum(), LANES), np.float32)
    for band in range(bands):
        start = widths[: band // LANES].sum()
        found = filterbank[int(first[band]) :][: width[band], band]
        weights[start : start + len(found), band % LANES] = found
    given = to_bins > 0
    below = given.argmax(0)
    beyond = np.arange(bands)[:, None]
    if (given & ((beyond < below) | (beyond > below + 1))).any():
        raise ValueError("a bin takes the gains of two bands that are neighbours")
    padded = np.concatenate([to_bins, np.zeros((1, bins), np.float32)])
    shares = padded[below, np.arange(bins)], padded[below + 1, np.arange(bins)]
    after = min(ceil_div(bins, LANES) * LANES, spectrum) - bins
    below, lower, upper = (np.pad(x, (0, after)) for x in (below.astype(np.uint64), *shares))
    return Filters(first.reshape(rows, LANES), widths, weights, below, lower, upper, most, np.array(limits, np.float32))
