"""`voices add`: keep a voice under a name that stands wherever a checkpoint is asked for."""

import argparse
import re
import shutil
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.errors import ConfigError
from flowvocoder.voice_card import BUNDLED, VOICES, added_voices, voices


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "voice", metavar="VOICE", help="USER/REPO or USER/REPO@REVISION on the hub, or a checkpoint folder"
    )
    parser.add_argument("--name", help="under which it is kept (default: REPO, or the folder's name)")
    parser.add_argument("--force", action="store_true", help="replace the voice that was added under this name")


def run(arguments: argparse.Namespace) -> int:
    """Fetch and check the voice, and copy its two files."""
    from flowvocoder.checkpoint import CONFIG, WEIGHTS, folder_of, load_checkpoint
    from flowvocoder.files import writing_folder
    from flowvocoder.hub import PREFIX, is_on_hub

    given = arguments.voice
    there = Path(given).is_dir()
    if not there and given.count("/") != 1:
        raise ConfigError(f"{given}: no such folder, and a voice of the hub is named USER/REPO or USER/REPO@REVISION")
    name = arguments.name
    if name is None:
        name = Path(given).resolve().name if there else given.partition("@")[0].rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}", name):
        raise ConfigError(f"{name!r} cannot be a voice's name: --name gives another, of letters, digits, - _ and .")
    known, target = voices().get(name), added_voices() / name
    if name == BUNDLED or (known is not None and known.parent == VOICES):
        raise ConfigError(f"{name} is a voice of the package: --name gives another name")
    if target.exists() and not arguments.force:
        raise ConfigError(f"{target}: is there already: --force replaces it, --name gives another name")
    source = Path(given if there or is_on_hub(given) else f"{PREFIX}{given}")
    checked = folder_of(source)  # once: on the hub, it may mean another commit the next time
    licence = load_checkpoint(checked).card.licence
    with writing_folder(target) as folder:
        for file in (CONFIG, WEIGHTS):
            shutil.copyfile(checked / file, folder / file)
    print(f"{name}: licence {licence}, kept in {target}")
    return 0


COMMAND = Command("voices add", "keep a voice of the hub or of a folder under a name", options, run)
