"""`flowvocoder corpus` and `python -m recipes`: list, show, download and prepare corpora."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.command import INTERRUPTED, Parser
from flowvocoder.cli.common import named_manifest
from flowvocoder.cli.main import as_program, carry_out
from flowvocoder.data.splits import VALIDATION
from flowvocoder.errors import ConfigError
from flowvocoder.files import check_folder
from flowvocoder.renamed import say_renamed

if TYPE_CHECKING:
    from recipes.facts import Recipe

FOLDER = "folder"
ACTIONS = ("list", "show", "download", "prepare", "export")
OWN_ONLY = ("language", "speaker", "speaker_folders")
PUBLISHED_ONLY = ("part", "mirror")
"""Options of `prepare` that make sense for your own recordings, or for published corpora, alone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one action; returns the exit code: 0, or 2 with one line on standard error, 130 after Ctrl-C."""
    with as_program():
        given = _new_order([*(sys.argv[1:] if argv is None else argv)])
        return carry_out("recipes", run, parser().parse_args(given))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="recipes", description="From a public corpus, or your own recordings, to a manifest.")
    add_actions(top)
    return top


def add_actions(parser: argparse.ArgumentParser) -> None:
    """list, show, download, prepare and export."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    actions.add_parser("list", help="a table of all corpora").set_defaults(act=_list)
    show = actions.add_parser("show", help="licence, parts, addresses and checksums of a corpus")
    download = actions.add_parser("download", help="download, check and unpack a corpus")
    prepare = actions.add_parser("prepare", help="write OUT/manifest.jsonl; downloads what is missing")
    export = actions.add_parser("export", help="write a manifest in the form of Kaldi or Lhotse")
    export.set_defaults(act=_export)
    export.add_argument(
        "manifest", metavar="MANIFEST.jsonl", type=Path, help="manifest, or a folder with its manifest.jsonl"
    )
    export.add_argument("out", metavar="OUT", type=Path, help="a folder for Kaldi, or cuts.jsonl.gz for Lhotse")
    for sub, act in ((show, _show), (download, _download), (prepare, _prepare)):
        sub.set_defaults(act=act)
        sub.add_argument("name", metavar="NAME", help="corpus, as `list` names it" if sub is not prepare
                         else f"corpus, as `list` names it; `{FOLDER}`: your own recordings")  # fmt: skip
    for sub in (download, prepare):
        sub.add_argument("out", metavar="OUT", type=Path, help="folder for manifest, downloads and unpacked archives")
        sub.add_argument("--part", metavar="PART", action="append", default=[],
                         help="part of the corpus; may be repeated (`show` lists them and the default)")  # fmt: skip
        sub.add_argument("--mirror", metavar="URL", help="server folder with the archives under their own names")
    _add_prepare(prepare)


def _add_prepare(prepare: argparse.ArgumentParser) -> None:
    prepare.add_argument("--source", metavar="PATH", type=Path,
                         help="the corpus on disk, folder or archive; for your own recordings a folder, Kaldi folder,"
                         " file list or Lhotse's cuts")  # fmt: skip
    prepare.add_argument("--jobs", metavar="N", type=_jobs, default=min(4, os.cpu_count() or 1),
                         help="recordings read at the same time (default: up to 4)")  # fmt: skip
    prepare.add_argument("--skip-bad", action="store_true",
                         help="leave out missing and unreadable recordings instead of stopping")  # fmt: skip
    prepare.add_argument(
        "--language", help=f"{FOLDER} only: ISO 639 code where cuts state none (default und, undetermined)"
    )
    prepare.add_argument("--speaker", help=f"{FOLDER} only: speaker of all recordings (default: the source's name)")
    prepare.add_argument("--speaker-folders", action="store_true",
                         help=f"{FOLDER} only: the first folder below PATH is the speaker")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action."""
    try:
        arguments.act(arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        return INTERRUPTED
    return 0


def _new_order(argv: list[str]) -> list[str]:
    """`NAME prepare` of the last release as `prepare NAME`."""
    if len(argv) > 1 and argv[0] not in ACTIONS and argv[1] in ("show", "prepare"):
        say_renamed(" ".join(argv[:2]), f"{argv[1]} {argv[0]}")
        argv[:2] = argv[1], argv[0]
    return argv


def _jobs(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"must be from 1 to 1024, not {value}")
    return value


def _recipe(name: str) -> "Recipe":
    from recipes.corpora import RECIPES

    if name not in RECIPES:
        raise ConfigError(f"no corpus named {name!r}: there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _download(arguments: argparse.Namespace) -> None:
    from recipes.driver import download

    recipe = _recipe(arguments.name)
    check_folder(arguments.out)
    for folder in download(recipe, arguments.out, arguments.part, arguments.mirror):
        print(folder)
    print(f"licence: {recipe.licence}")


def _prepare(arguments: argparse.Namespace) -> None:
    from recipes.corpora.folder import own
    from recipes.driver import prepare

    recipe = _recipe(arguments.name)
    is_own = recipe.name == FOLDER
    for name in PUBLISHED_ONLY if is_own else OWN_ONLY:
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} is not for {'your own recordings' if is_own else 'published corpora'}")
    if is_own:
        if arguments.source is None:
            raise ConfigError("your own recordings need --source: where they are")
        recipe = own(arguments.source, arguments.language or "und", arguments.speaker, arguments.speaker_folders)
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
    if not is_own:
        print(f"licence: {recipe.licence}")


def _export(arguments: argparse.Namespace) -> None:
    from recipes.exports import export

    print(f"{arguments.out}: {export(named_manifest(arguments.manifest), arguments.out)}")


def _list(_: argparse.Namespace) -> None:
    from recipes.corpora import RECIPES

    rows = [("name", "hours", "speakers", "Hz", "licence")]
    rows += [(r.name, r.hours, r.speakers, r.rate, r.licence) for r in RECIPES.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]))


def _show(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments.name)
    print(f"{recipe.title}, {recipe.homepage}\nlicence: {recipe.licence}")
    print(f"hours: {recipe.hours}; speakers: {recipe.speakers}; rate: {recipe.rate} Hz")
    if recipe.note:
        print(recipe.note)
    for part in recipe.parts:
        default = " (default)" if part.name in recipe.default else ""
        if part.archive:
            print(f"{part.name or recipe.name}{default}: {part.archive.url}, {part.archive.size},"
                  f" {part.archive.checksum or 'no published checksum'}")  # fmt: skip
