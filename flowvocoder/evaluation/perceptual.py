"""PESQ-WB and STOI: other people's code, and what it takes to call it on any recording."""

import math
import warnings

import numpy as np

from flowvocoder.evaluation.signals import RATE, Pair, to_rate
from flowvocoder.extras import library
from flowvocoder.units import ceil_div

PESQ_RATE = 16000
"""Hz, of the wide-band mode of PESQ and of STOI here."""

PESQ_LONGEST = 30 * PESQ_RATE
"""Samples; the ITU's code overruns its tables on recordings of a minute or two, so longer ones go in equal pieces."""


def perceptual(pair: Pair) -> tuple[dict[str, float], list[str]]:
    """`pesq` (ITU-T P.862.2, 1.04 to 4.64), `stoi` and `estoi` (Taal et al. 2011, Jensen and Taal 2016), and notes.

    NaN with a note where the method itself is not defined (no speech found, too short). PESQ of more than 30 s is the
    mean over pieces.
    """
    reference, generated = (to_rate(x, RATE, PESQ_RATE) for x in (pair.reference, pair.generated))
    notes: list[str] = []
    return {
        "pesq": _pesq(reference, generated, notes),
        "stoi": _stoi(reference, generated, False, notes),
        "estoi": _stoi(reference, generated, True, notes),
    }, notes


def _pesq(reference: np.ndarray, generated: np.ndarray, notes: list[str]) -> float:
    pesq = library("pesq", "evaluate")
    pieces = ceil_div(len(reference), PESQ_LONGEST)
    values = []
    for a, b in zip(np.array_split(reference, pieces), np.array_split(generated, pieces), strict=True):
        if not (a.any() and b.any()):
            notes.append("pesq: silence")
            continue
        try:
            values.append(float(pesq.pesq(PESQ_RATE, a, b, "wb")))
        except (pesq.PesqError, ValueError, ZeroDivisionError) as error:
            said = error.args[0] if error.args else type(error).__name__
            notes.append(f"pesq: {said.decode() if isinstance(said, bytes) else said}")
    return float(np.mean(values)) if values else math.nan


def _stoi(reference: np.ndarray, generated: np.ndarray, extended: bool, notes: list[str]) -> float:
    stoi = library("pystoi", "evaluate").stoi
    name = "estoi" if extended else "stoi"
    with warnings.catch_warnings():
        # It warns and returns 1e-5 where it has too few speech frames.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference, generated, PESQ_RATE, extended=extended))
        except (RuntimeWarning, ValueError, IndexError) as error:
            notes.append(f"{name}: {str(error).split('. ')[0]}")
            return math.nan
