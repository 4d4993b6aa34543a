"""Anybody's own recordings, in whatever layout they are."""

import dataclasses
from pathlib import Path

from recipes.facts import Part, Recipe
from recipes.layouts import Table, Tree
from recipes.lists import Cuts, FileList, Kaldi

TREE = Tree(folders=True)

RECIPE = Recipe(
    name="folder",
    title="your own recordings",
    homepage="",
    licence="yours",
    language="und",
    hours="",
    speakers="",
    rate="any",
    parts=(Part(name="", archive=None),),
    layouts=(
        Kaldi(),
        FileList(),
        Cuts(),
        Table(speaker=r"^[^/]+/([^/]+)/metadata\.csv$", tables=("metadata.csv", "*/metadata.csv"), folders=True),
        TREE,
    ),
    note="a tree of recordings, LJSpeech's layout, a Kaldi folder, NVIDIA file lists or Lhotse cuts; needs --source",
)


def own(source: Path, language: str = "und", speaker: str | None = None, speaker_folders: bool = False) -> Recipe:
    """The recipe for the recordings in `source`; ids begin with its name.

    Args:
        speaker: of all recordings whose layout names none; by default the name of `source`.
        speaker_folders: in a tree of recordings, the first folder names the speaker.
    """
    place = source.resolve()
    tree = dataclasses.replace(TREE, speaker=r"^[^/]+/([^/]+)/" if speaker_folders else None)
    return dataclasses.replace(
        RECIPE,
        name=Path(place.name.removesuffix(".gz")).stem if place.is_file() else place.name,
        language=language,
        parts=(Part(name="", archive=None, speaker=speaker),),
        layouts=tuple(tree if layout is TREE else layout for layout in RECIPE.layouts),
    )
