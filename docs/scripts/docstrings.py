"""Griffe extension: the docstrings' `Example:` is the section that griffe knows as `Examples:`."""

import re
from typing import Any

import griffe


class Sections(griffe.Extension):
    """Renames the section, so that its lines are shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
