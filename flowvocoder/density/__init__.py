"""Densities of vectors by normalizing flows: every family behind one scikit-learn estimator."""

from typing import TYPE_CHECKING, Any

from flowvocoder.density.families import FAMILIES

if TYPE_CHECKING:
    from flowvocoder.density.estimator import FlowDensity

__all__ = ["FAMILIES", "FlowDensity"]


def __getattr__(name: str) -> Any:
    # Lazily, so that the names of families do not wait for torch.
    if name == "FlowDensity":
        from flowvocoder.density.estimator import FlowDensity

        return FlowDensity
    raise AttributeError(f"module 'flowvocoder.density' has no attribute {name!r}")
