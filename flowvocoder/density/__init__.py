"""Densities of vectors by normalizing flows and their rivals: every family behind a scikit-learn estimator."""

import importlib
from typing import TYPE_CHECKING, Any

from flowvocoder.density.families import FAMILIES, MODELS

if TYPE_CHECKING:
    from flowvocoder.density.estimator import FlowDensity
    from flowvocoder.density.generative import GenerativeModel
    from flowvocoder.density.posterior import fit_posterior

__all__ = ["FAMILIES", "MODELS", "FlowDensity", "GenerativeModel", "fit_posterior"]

LAZY = {"FlowDensity": "estimator", "GenerativeModel": "generative", "fit_posterior": "posterior"}
"""The modules of what waits for torch, as the names of families do not."""


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(importlib.import_module(f"flowvocoder.density.{LAZY[name]}"), name)
    raise AttributeError(f"module 'flowvocoder.density' has no attribute {name!r}")
