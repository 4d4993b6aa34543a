"""Recipes: from a public corpus, or your own recordings, to a manifest.

from pathlib import Path
from recipes import RECIPES, own, prepare

prepare(RECIPES["ljspeech"], Path("data/ljspeech"), jobs=4)
prepare(own(Path("recordings")), Path("data/mine"), source=Path("recordings"))
"""

from recipes.corpora import load
from recipes.corpora.folder import own
from recipes.driver import Prepared, prepare

RECIPES = load()

__all__ = ["RECIPES", "Prepared", "own", "prepare"]
