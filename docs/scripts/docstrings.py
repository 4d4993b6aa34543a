"""Griffe extension: how the docstrings' own sections are shown."""

import re
from typing import Any

import griffe


class Sections(griffe.Extension):
    """`Example:` is the section that griffe knows as `Examples:`, shown as code; in `Shape:` a name begins a line."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r"^\s*Shape:\n(?:.+\n?)+", _lines, text, flags=re.M)


def _lines(section: re.Match[str]) -> str:
    # Two spaces at the end of a line are a line break in Markdown.
    return re.sub(r"(?<!Shape:)\n(?=\s+[\w, ]+: \()", "  \n", section[0])
