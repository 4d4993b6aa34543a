"""`python -m recipes`: list, show and prepare corpora."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowvocoder.cli.main import INTERRUPTED
from flowvocoder.cli.parsers.common import FAILED, Parser
from flowvocoder.data.manifest import VALIDATION
from flowvocoder.errors import FlowVocoderError
from flowvocoder.files import check_folder
from recipes import RECIPES, own, prepare
from recipes.facts import Recipe

FOLDER = "folder"
LANGUAGE = "und"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with one line on standard error, 130 after Ctrl-C."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
        return 0
    except FlowVocoderError as error:
        print(f"recipes: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("recipes: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        return 0
    except OSError as error:  # a folder without permission, a name too long
        print(f"recipes: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        return FAILED


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="recipes", description="From a public corpus, or your own recordings, to a manifest.")
    names = top.add_subparsers(dest="recipe", required=True, metavar="NAME", title="recipes")
    names.add_parser("list", help="a table of all recipes").set_defaults(run=_list)
    for recipe in RECIPES.values():
        summary = recipe.title + (f": {recipe.note}" if recipe.note else "")
        actions = names.add_parser(recipe.name, help=summary, description=summary).add_subparsers(
            required=True, metavar="ACTION", title="actions"
        )
        if recipe.name != FOLDER:
            actions.add_parser("show", help="licence, parts, addresses, checksums").set_defaults(run=_show)
        sub = actions.add_parser("prepare", help="write OUT/manifest.jsonl; what is done already is not done again")
        _add_prepare(sub, recipe)
    return top


def _add_prepare(sub: argparse.ArgumentParser, recipe: Recipe) -> None:
    sub.set_defaults(run=_prepare, part=[], mirror=None, language=LANGUAGE, speaker=None, speaker_folders=False)
    sub.add_argument("out", metavar="OUT", type=Path, help="folder for the manifest, downloads and unpacked archives")
    own_recordings = recipe.name == FOLDER
    sub.add_argument("--source", metavar="PATH", type=Path, required=own_recordings,
                     help="the recordings, or a Kaldi folder or file list that names them" if own_recordings
                     else "folder or archive of the corpus on disk: nothing is downloaded")  # fmt: skip
    sub.add_argument("--jobs", metavar="N", type=_jobs, default=min(4, os.cpu_count() or 1),
                     help="recordings read at the same time (default: up to 4)")  # fmt: skip
    sub.add_argument("--skip-bad", action="store_true",
                     help="leave out recordings that are missing or unreadable, instead of stopping")  # fmt: skip
    if own_recordings:
        sub.add_argument("--language", default=LANGUAGE, help="ISO 639 code (default und, undetermined)")
        sub.add_argument("--speaker", help="of all recordings whose layout names none (default: the source's name)")
        sub.add_argument("--speaker-folders", action="store_true", help="the first folder below PATH is the speaker")
        return
    sub.add_argument("--mirror", metavar="URL", help="folder on a server that holds the archives under their names")
    if len(recipe.parts) > 1:
        default = ", ".join(recipe.default) or "all"
        sub.add_argument("--part", metavar="PART", action="append", default=[],
                         help=f"may be given several times: {', '.join(p.name for p in recipe.parts)}"
                              f" (default {default})")  # fmt: skip


def _jobs(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"must be from 1 to 1024, not {value}")
    return value


def _prepare(arguments: argparse.Namespace) -> None:
    recipe = RECIPES[arguments.recipe]
    if recipe.name == FOLDER:
        recipe = own(arguments.source, arguments.language, arguments.speaker, arguments.speaker_folders)
    check_folder(arguments.out)
    made = prepare(recipe, arguments.out, arguments.source, arguments.part, arguments.jobs, arguments.mirror,
                   arguments.skip_bad)  # fmt: skip
    if not made.fresh:
        print(f"{made.manifest}: prepared already, nothing to do")
    splits = ", ".join(f"{count} {split}" for split, count in made.splits.items())
    left_out = f", {made.left_out} left out" if made.left_out else ""
    length = f"{made.seconds / 3600:.2f} h" if made.seconds >= 7200 else f"{made.seconds / 60:.1f} min"
    print(f"{made.manifest}: {made.utterances} utterances, {length}, {made.speakers} speaker(s): {splits}{left_out}")
    if VALIDATION not in made.splits:
        print(f"no {VALIDATION} split in it: {'add a part that has one' if recipe.parts[1:] else 'too few recordings'}")
    if arguments.recipe != FOLDER:
        print(f"licence: {recipe.licence}")


def _list(_: argparse.Namespace) -> None:
    rows = [("name", "hours", "speakers", "Hz", "licence")]
    rows += [(r.name, r.hours, r.speakers, r.rate, r.licence) for r in RECIPES.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))


def _show(arguments: argparse.Namespace) -> None:
    recipe = RECIPES[arguments.recipe]
    print(f"{recipe.title}, {recipe.homepage}\nlicence: {recipe.licence}")
    print(f"hours: {recipe.hours}; speakers: {recipe.speakers}; rate: {recipe.rate} Hz")
    if recipe.note:
        print(recipe.note)
    for part in recipe.parts:
        default = " (default)" if part.name in recipe.default else ""
        if part.archive:
            print(f"{part.name or recipe.name}{default}: {part.archive.url}, {part.archive.size},"
                  f" {part.archive.checksum or 'no published checksum'}")  # fmt: skip
