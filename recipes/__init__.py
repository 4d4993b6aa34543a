"""Recipes: from a public corpus, or your own recordings, to a manifest.

from pathlib import Path
from recipes import RECIPES, own, prepare

prepare(RECIPES["ljspeech"], Path("data/ljspeech"), jobs=4)
prepare(own(Path("recordings")), Path("data/mine"), source=Path("recordings"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipes.corpora import RECIPES
    from recipes.corpora.folder import own
    from recipes.driver import Prepared, download, prepare

__all__ = ["RECIPES", "Prepared", "download", "own", "prepare"]

_HOMES = {
    "RECIPES": "corpora",
    "own": "corpora.folder",
    "Prepared": "driver",
    "download": "driver",
    "prepare": "driver",
}


def __getattr__(name: str) -> Any:
    # Lazily, so that `flowvocoder --help`, which shows the options of `corpus`, does not wait for NumPy.
    if name in _HOMES:
        return getattr(importlib.import_module(f"recipes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'recipes' has no attribute {name!r}")
