"""The architecture page, from the layer table that a test enforces, and the API pages, from the docstrings."""

import ast
import html
import os
from pathlib import Path

from tables import table

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "flowvocoder"

# The code's layers, from the table that a test enforces.


def layers() -> list[set[str]]:
    """The layer table of tests/test_architecture.py, from the bottom up."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS":
            found: list[set[str]] = ast.literal_eval(node.value)
            return found
    raise ValueError("tests/test_architecture.py has no LAYERS")


def rooms() -> list[str]:
    """All packages and modules on top of the package, from the top down."""
    return [room for layer in reversed(layers()) for room in sorted(layer)]


def api_rooms() -> list[str]:
    """Those with an API page of their own; the first API page holds the others.

    The variable FLOWVOCODER_SITE_ROOMS names some, for a site that is built in half the time.
    """
    some = os.environ.get("FLOWVOCODER_SITE_ROOMS", "").split() or rooms()
    return [room for room in rooms() if room in some and room not in ("vocoder", "errors")]


def source(room: str) -> Path:
    """The file that holds a room's docstring."""
    package = PACKAGE / room / "__init__.py"
    return package if package.exists() else PACKAGE / f"{room}.py"


def summary(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return html.escape(" ".join(text.partition("\n\n")[0].split()), quote=False)


def architecture() -> str:
    """The layers with what each room holds."""
    parts = [
        "# Architecture of the code",
        "This page is generated from the layer table in `tests/test_architecture.py`, which the tests enforce. "
        "A module imports from its own room and from rooms further down, never upwards and never in a circle.",
    ]
    rows = (
        (str(number), f"[`{room}`](../api/{api_page(room)})", summary(source(room)), files(room), imported(room))
        for number, layer in reversed(list(enumerate(layers())))
        for room in sorted(layer)
    )
    return "\n\n".join([*parts, table(("layer", "room", "what it holds", "files", "imports"), rows)])


def api_page(room: str) -> str:
    return f"{room}.md" if room in api_rooms() else "index.md"


def files(room: str) -> str:
    """The names of a package's modules, with the folder below it."""
    names = [p.relative_to(source(room).parent).with_suffix("") for p in modules(room) if p != source(room)]
    return ", ".join(f"`{name.as_posix()}`" for name in names if name.stem != "__init__")


def imported(room: str) -> str:
    """The other rooms that a room imports."""
    found = set()
    for path in modules(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flowvocoder."):
                found.add((node.module or "").split(".")[1])
    return ", ".join(f"`{name}`" for name in sorted(found - {room}))


def modules(room: str) -> list[Path]:
    """A room's files, the package's own first."""
    path = source(room)
    if path.stem != "__init__":
        return [path]
    return [path, *sorted(p for p in path.parent.rglob("*.py") if p != path)]


# The API, from the docstrings.


INDEX = """# API

These pages are generated from the docstrings. Most users need `Vocoder` alone. Every error that the package raises on
purpose is a `FlowVocoderError` with one sentence.

::: flowvocoder.vocoder.Vocoder

::: flowvocoder.errors
    options: {show_root_heading: false, show_root_toc_entry: false}

## All packages

[Architecture](../reference/architecture.md) shows how they depend on each other.

"""


def api_index() -> str:
    """The classes most users need, and where the others are."""
    rows = ((f"[`{room}`]({room}.md)", summary(source(room))) for room in api_rooms())
    return INDEX + table(("package", "what it holds"), rows)


MODULE = """## {name}

::: {name}
    options: {{show_root_heading: false, show_root_toc_entry: false, heading_level: 3}}"""


def api(room: str) -> str:
    """One package: a directive for each of its modules."""
    names = (".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in modules(room))
    return "\n\n".join([f"# {room}", *(MODULE.format(name=name) for name in names)])
