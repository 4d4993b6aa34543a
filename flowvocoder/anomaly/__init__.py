"""What is broken in speech, and where: features, a network and a flow over them, calibrated p-values, spans."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowvocoder.anomaly.detector import AnomalyDetector
    from flowvocoder.anomaly.stream import AnomalyStream

__all__ = ["AnomalyDetector", "AnomalyStream"]

LAZY = {"AnomalyDetector": "detector", "AnomalyStream": "stream"}
"""The modules of what waits for torch."""


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(importlib.import_module(f"flowvocoder.anomaly.{LAZY[name]}"), name)
    raise AttributeError(f"module 'flowvocoder.anomaly' has no attribute {name!r}")
