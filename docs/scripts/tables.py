"""Markdown tables."""

from collections.abc import Iterable

Rows = Iterable[tuple[str, ...]]


def table(head: tuple[str, ...], rows: Rows) -> str:
    """A Markdown table; cells that hold | or a line break are made safe."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in lines)
