"""One file of facts a corpus; a file that is put here is a recipe."""

import importlib
import pkgutil

from recipes.facts import Recipe


def _load() -> dict[str, Recipe]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found: list[Recipe] = [module.RECIPE for module in modules]
    return {recipe.name: recipe for recipe in sorted(found, key=lambda r: r.name)}


RECIPES = _load()
"""All recipes by name."""
