"""How Gradio is imported: it tells nobody, and makes no stub files (.pyi).

It would make stubs of its components for editors, whenever it is imported: that parses all its source and takes a third
of the time. Nobody who visits a demo reads them.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from flowvocoder.extras import library

# Before the import: it would tell its makers of it, and keep requests with a service of theirs.
os.environ["GRADIO_ANALYTICS_ENABLED"] = os.environ["GRADIO_RUN_HISTORY"] = "False"

MAKER = "gradio.component_meta"


class _WithoutStubs(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == MAKER else None
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_without(module: ModuleType) -> None:
                load(module)
                module.create_or_modify_pyi = lambda *_: None  # type: ignore[attr-defined]

            spec.loader.exec_module = load_without  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _WithoutStubs())


def need_gradio() -> None:
    """Imports it. Raises ConfigError that says how it is installed."""
    library("gradio", "demo")
