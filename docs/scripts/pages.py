"""MkDocs hook: adds the pages that are generated, so that they say what the code says."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

SCRIPTS = Path(__file__).parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parents[1])]

from reference import cli, conventions, corpora, players, renamed, settings  # noqa: E402
from rooms import api, api_index, api_rooms, architecture  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts a page of every package of the code under API."""
    for section in config.nav or []:
        if "API" in section:
            section["API"] = ["api/index.md", *(f"api/{room}.md" for room in api_rooms())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for path, content in generated().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts generated parts in place of their comments."""
    markdown = markdown.replace("<!-- conventions -->", conventions()).replace("<!-- renamed -->", renamed())
    return re.sub(r"<!-- gallery (\w+) -->", lambda found: players(found[1]), markdown)


def generated() -> dict[str, str]:
    """Each generated page's path below docs/ and its Markdown."""
    return {
        "reference/cli.md": cli(),
        "reference/settings.md": settings(),
        "reference/corpora.md": corpora(),
        "reference/architecture.md": architecture(),
        "api/index.md": api_index(),
        **{f"api/{room}.md": api(room) for room in api_rooms()},
    }
