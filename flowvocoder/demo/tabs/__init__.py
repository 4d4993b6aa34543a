"""The tabs of the demo, one a file. Every file here is found by itself."""

import importlib
import pkgutil
from types import ModuleType

_files = (importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__))

TABS: list[ModuleType] = sorted(_files, key=lambda tab: tab.PLACE)
"""Modules with a `build(service, page)` and a `PLACE`, from left to right."""
