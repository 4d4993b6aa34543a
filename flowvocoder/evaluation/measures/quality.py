"""One figure out of five: the quality of a copy."""

import numpy as np

from flowvocoder.evaluation.measures.registry import measure

TERMS = {"pesq": (1.04, 4.64), "logmag": (1.5, 0.0), "mcd": (12.0, 0.0), "band_db": (5.0, 0.0), "pulse": (0.6, 0.0)}
"""Each measure's value at 0 and at 1; between them a straight line, beyond them clipped, all of equal weight."""


@measure("quality", "quality", 3, "higher", of="values", charted=True)
def quality(values: dict[str, float]) -> dict[str, float]:
    """`quality`, 0 to 1: the mean of the five terms of TERMS; NaN if one is missing."""
    terms = [np.clip((values[name] - at0) / (at1 - at0), 0.0, 1.0) for name, (at0, at1) in TERMS.items()]
    return {"quality": float(np.mean(terms))}
