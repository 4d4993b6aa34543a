"""The measures, one file a family. Every file of this folder is imported, and registers what it measures."""

import importlib
import pkgutil

from flowvocoder.evaluation.measures.registry import Measure, functions, names_in, registered

__all__ = ["MEASURES", "Measure", "functions", "names_in"]

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")

MEASURES: dict[str, Measure] = registered()
"""By name, in the order of tables."""
