"""PESQ-WB and STOI: other people's code, and what it takes to call it on any recording."""

import functools
import math
import warnings

import numpy as np

from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.signals import RATE, Pair, Values, to_rate
from flowvocoder.extras import library
from flowvocoder.units import ceil_div

PESQ_RATE = 16000
"""Hz, of the wide-band mode of PESQ and of STOI here."""

PESQ_LONGEST = 30 * PESQ_RATE
"""Samples; the ITU's code overruns its tables on recordings of a minute or two, so longer ones go in equal pieces."""


@measure("pesq", "PESQ-WB", 2, "higher", charted=True)
def pesq_wb(pair: Pair) -> dict[str, float]:
    """`pesq` (ITU-T P.862.2, 1.04 to 4.64); of more than 30 s the mean over pieces. NaN with a note for silence."""
    pesq = library("pesq", "evaluate")
    reference, generated = at_16_khz(pair)
    pieces = ceil_div(len(reference), PESQ_LONGEST)
    values = []
    for a, b in zip(np.array_split(reference, pieces), np.array_split(generated, pieces), strict=True):
        if not (a.any() and b.any()):
            pair.notes.append("pesq: silence")
            continue
        try:
            values.append(float(pesq.pesq(PESQ_RATE, a, b, "wb")))
        except (pesq.PesqError, ValueError, ZeroDivisionError) as error:
            said = error.args[0] if error.args else type(error).__name__
            pair.notes.append(f"pesq: {said.decode() if isinstance(said, bytes) else said}")
    return {"pesq": float(np.mean(values)) if values else math.nan}


@measure("stoi", "STOI", 3, "higher")
@measure("estoi", "ESTOI", 3, "higher", charted=True)
def intelligibility(pair: Pair) -> dict[str, float]:
    """`stoi` (Taal et al. 2011) and `estoi` (Jensen and Taal 2016). NaN with a note where too little is speech."""
    return {name: _stoi(pair, name) for name in ("stoi", "estoi")}


@functools.lru_cache(maxsize=1)
def at_16_khz(pair: Pair) -> tuple[Values, Values]:
    """Recording and copy at PESQ_RATE."""
    reference, generated = (to_rate(x, RATE, PESQ_RATE) for x in (pair.reference, pair.generated))
    return reference, generated


def _stoi(pair: Pair, name: str) -> float:
    stoi = library("pystoi", "evaluate").stoi
    with warnings.catch_warnings():
        # It warns and returns 1e-5 where it has too few speech frames.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(*at_16_khz(pair), PESQ_RATE, extended=name == "estoi"))
        except (RuntimeWarning, ValueError, IndexError) as error:
            pair.notes.append(f"{name}: {str(error).split('. ')[0]}")
            return math.nan
