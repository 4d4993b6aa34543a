"""MkDocs hook: adds the pages that are generated, so that they say what the code says."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

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
    for path, content in {**generated(), **notebooks()}.items():
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


def notebooks() -> dict[str, str | bytes]:
    """A page of each notebook, and its plots."""
    pages: dict[str, str | bytes] = {}
    for path in sorted((SCRIPTS.parent / "notebooks").glob("*.ipynb")):
        page, resources = MarkdownExporter().from_filename(path, {"output_files_dir": path.stem})
        title, _, rest = page.replace(".ipynb)", ".md)").partition("\n")
        pages[f"notebooks/{path.stem}.md"] = f"{title}\n\n[The notebook]({path.name}), to run it yourself.\n{rest}"
        pages |= {f"notebooks/{name}": plot for name, plot in resources["outputs"].items()}
    return pages
