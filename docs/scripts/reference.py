"""Pages of the reference: the command line, settings, mel conventions, corpora."""

import argparse
import ast
import dataclasses
import html
import inspect
import itertools
import os
import re
import typing
from collections.abc import Iterator
from typing import Any

from tables import Rows, table

os.environ["COLUMNS"] = "100"  # argparse wraps its usage there

# The command line, from its parsers.


def cli() -> str:
    """All commands with their options."""
    from flowvocoder.cli.main import parser

    intro = (
        "# Command line\n\nThis page is generated from the parsers. Every command exits with 0 when it worked. "
        "Otherwise it exits with 2 after one sentence on standard error, and leaves no half-written file. "
        "SIGTERM ends it with 143, SIGHUP with 129 and Ctrl-C with 130; unfinished files go."
    )
    return "\n\n".join([intro, *commands(parser())])


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A section for each command that has no commands of its own."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for name, sub in ((n, p) for group in groups for n, p in shown(group)):
        if any(isinstance(a, argparse._SubParsersAction) for a in sub._actions):
            yield from commands(sub)
            continue
        usage = sub.format_usage().removeprefix("usage: ").rstrip()
        rows = [option(sub, a) for a in sub._actions if a.help is not argparse.SUPPRESS and a.dest != "help"]
        title = sub.prog if sub.prog.startswith("flowvocoder") else f"flowvocoder {name}"
        summary = sentence(sub.description or "")
        yield f"## {title}\n\n{summary}\n\n```text\n{usage}\n```\n\n{table(('argument', 'meaning'), iter(rows))}"


def shown(group: "argparse._SubParsersAction[Any]") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands that --help lists: old names that still work are not among them."""
    listed = {choice.dest for choice in group._choices_actions if choice.help is not argparse.SUPPRESS}
    return ((name, sub) for name, sub in group.choices.items() if name in listed)


def option(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    """One row: how an option is written, and its help."""
    formatter = parser._get_formatter()
    value = "" if action.nargs == 0 else formatter._format_args(action, action.dest.upper())
    names = [f"{name} {value}".strip() for name in action.option_strings] or [value or action.dest]
    text = formatter._expand_help(action) if action.help else ""
    return ", ".join(f"`{name}`" for name in names), html.escape(text, quote=False)


def renamed() -> str:
    """Old names of options, presets and settings that still work, with the new ones."""
    from flowvocoder.cli.command import RENAMED
    from flowvocoder.legacy import PRESETS, SETTINGS

    names = [(f"`{old}`", f"`{new}`") for old, new in (*RENAMED.items(), *PRESETS.items(), *SETTINGS.items())]
    return table(("until 0.1", "now"), ((old, new.replace("`train.", "`")) for old, new in names))


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


# Settings and presets, from the dataclasses.


def settings() -> str:
    """Every setting with its default and meaning, and what each preset changes."""
    from flowvocoder import presets

    parts = [
        "# Settings and presets",
        "This page is generated from the code. `flowvocoder train --set KEY=VALUE` changes a setting. The last words "
        "of a key are enough where no other setting has them: `lr`, `optim.lr`. `--set mel=NAME` takes a whole "
        "[mel convention](mels.md).",
        "## Presets",
        f"`--preset NAME` chooses one; the default is `{presets.DEFAULT_PRESET}`. The table lists what differs from "
        "the defaults below.",
        table(("preset", "architecture", "settings"), (preset(n, e) for n, e in presets.PRESETS.items())),
    ]
    kinds = {(name, type(part)) for e in presets.PRESETS.values() for name, part in sections(e)}
    for name, kind in sorted(kinds, key=lambda pair: (SECTIONS.index(pair[0]), pair[1].__name__)):
        title = f"{name}: {kind.architecture}" if name == "model" else name
        head = ("key", "default", "limits", "meaning")
        parts += [f"## {title}", sentence(summary(kind)), table(head, setting_rows(kind(), f"{name}."))]
    return "\n\n".join(parts)


SECTIONS = ("train", "mel", "postfilter", "model")


def sections(experiment: Any) -> list[tuple[str, Any]]:
    """The parts that an experiment has, with their names."""
    parts = ((name, getattr(experiment, name, None)) for name in SECTIONS)
    return [(name, part) for name, part in parts if part is not None]


def summary(kind: type) -> str:
    """The first line of a class's docstring."""
    return html.escape((inspect.getdoc(kind) or "").partition("\n")[0], quote=False)


def preset(name: str, experiment: Any) -> tuple[str, str, str]:
    """A preset's row."""
    from flowvocoder.config import NETWORKS

    parts = [(section, part) for section, part in sections(experiment) if section != "mel"]
    changed = [change for section, part in parts for change in differences(part, f"{section}.")]
    if experiment.postfilter is not None:
        changed.append(f"with {' and '.join(f'a {name}' for name in NETWORKS if experiment.postfilter.of(name))}")
    return f"`{name}`", experiment.model.architecture, " ".join(f"`{c}`" for c in changed) or "the defaults"


def differences(part: Any, prefix: str) -> Iterator[str]:
    """What a section changes of its defaults."""
    for field, value in leaves(part, prefix):
        default = next(v for f, v in leaves(type(part)(), prefix) if f == field)
        if value != default:
            yield f"{field.removeprefix('train.')}={spelled(value)}"


def leaves(part: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every setting of a section and of the sections in it."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def setting_rows(part: Any, prefix: str) -> Rows:
    meanings = comments(type(part))
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from setting_rows(value, f"{prefix}{field.name}.")
            continue
        choices = typing.get_args(typing.get_type_hints(type(part))[field.name])
        named = ", ".join(f"`{c}`" for c in choices if isinstance(c, str))
        text = field.metadata.get("help") or meanings.get(field.name, "")
        limits = between(*field.metadata.get("limits", (None, None)))
        yield f"`{prefix}{field.name}`", f"`{spelled(value)}`", limits, "; ".join(t for t in (text, named) if t)


def between(lowest: float | None, highest: float | None) -> str:
    """Limits in words; a highest value that nobody reaches is left out."""
    if lowest is None or highest is None:
        return ""
    return f"{lowest:g} or more" if highest >= 1e6 else f"{lowest:g} to {highest:g}"


def spelled(value: Any) -> str:
    """As --set takes it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def comments(kind: type) -> dict[str, str]:
    """What the source says of each field, in a comment behind it or in a string below it."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        lines = inspect.cleandoc(inspect.getsource(base)).splitlines()
        body = ast.parse("\n".join(lines)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in itertools.zip_longest(body.body, body.body[1:]):
            if not isinstance(field, ast.AnnAssign):
                continue
            behind = re.search(r"#\s*(?!fmt:|noqa|type:)(.+)$", lines[(field.end_lineno or field.lineno) - 1])
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[ast.unparse(field.target)] = str(below.value.value)
            elif behind:
                found[ast.unparse(field.target)] = behind[1]
    return found


def conventions() -> str:
    """The named mel conventions, a column each."""
    from flowvocoder.mel.spec import CONVENTIONS

    meanings = comments(type(next(iter(CONVENTIONS.values()))))
    rows = ((f"`{field}`", *(f"{spec.to_dict()[field]:g}" if isinstance(spec.to_dict()[field], float) else
             str(spec.to_dict()[field]) for spec in CONVENTIONS.values()), meanings.get(field, ""))
            for field in next(iter(CONVENTIONS.values())).to_dict())  # fmt: skip
    return table(("key", *(f"`{name}`" for name in CONVENTIONS), "meaning"), rows)


SYSTEMS = {
    "recording": "recording",
    "universal-22k": "universal-22k",
    "universal-24k": "universal-24k",
    "pocket-22k": "pocket-22k",
    "stream-128": "stream, 128 ms",
    "stream-46": "stream, 46 ms",
    "flow": "flow alone",
    "griffin-lim": "Griffin-Lim",
}
"""The gallery's files and what is written over them, in order."""


def players(voice: str) -> str:
    """The gallery's players of one voice."""
    figures = (
        f'<figure><figcaption>{label}</figcaption><audio controls preload="none" src="gallery/{voice}-{name}.ogg">'
        f'<a href="gallery/{voice}-{name}.ogg">{label}</a></audio></figure>'
        for name, label in SYSTEMS.items()
    )
    return '<div class="gallery">' + "".join(figures) + "</div>"


# Corpora, from the recipes.


def corpora() -> str:
    """Every recipe's facts."""
    from recipes import RECIPES

    intro = (
        "# Corpora\n\nThis page is generated from the recipes. Hours and sizes are the publishers' figures, rounded. "
        "Read the licence at the corpus's own page before you publish a model. "
        "[Prepare data at scale](../how-to/prepare.md) says what a recipe does."
    )
    head = ("name", "corpus", "licence", "language", "hours", "speakers", "Hz", "size", "checksum", "parts")
    notes = [f"- `{r.name}`: {sentence(r.note)}" for r in RECIPES.values() if r.note]
    return "\n\n".join([intro, table(head, (corpus(r) for r in RECIPES.values())), "## Notes", "\n".join(notes)])


def corpus(recipe: Any) -> tuple[str, ...]:
    """A recipe's row."""
    archives = [part.archive for part in recipe.parts if part.archive]
    sizes = list(dict.fromkeys(a.size for a in archives))
    sums = {(a.checksum or "").partition(":")[0] for a in archives}
    checksum = ", ".join(sorted(s.upper() for s in sums if s)) or ("none published" if archives else "")
    parts = ", ".join(f"**{p.name}**" if p.name in recipe.default else p.name for p in recipe.parts if p.name)
    title = f"[{recipe.title}]({recipe.homepage})" if recipe.homepage else recipe.title
    size = ", ".join(sizes[:2]) + (" ..." if len(sizes) > 2 else "")
    facts = (recipe.licence, recipe.language, recipe.hours, recipe.speakers, recipe.rate)
    return (f"`{recipe.name}`", title, *facts, size, checksum, parts)
