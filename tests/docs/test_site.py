"""The site builds without a warning, asks nobody for anything, and fits a phone."""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile as sf

yaml = pytest.importorskip("yaml")
pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = 1280, 390
ROOMS = "flows runtime"
"""Have API pages. All have by `make docs`, and where it is tried thoroughly."""
EMPTY = {"config": {"lang": ["en"], "separator": " "}, "docs": []}
"""An index to search in."""


@pytest.fixture(scope="module")
def site(once: Callable[[str, Callable[[Path], object]], Path], thorough: bool) -> Path:
    return once("docs", lambda folder: build(folder, "" if thorough else ROOMS)) / "site"


def build(folder: Path, rooms: str) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "FLOWVOCODER_SITE_ROOMS": rooms}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr


def test_docstrings_of_all_packages_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """As the site reads them, which complains of sections and parameters it does not understand."""
    griffe = pytest.importorskip("griffe")
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)["plugins"][1]
    options = settings["mkdocstrings"]["handlers"]["python"]["options"]
    extensions = griffe.load_extensions(*(str(ROOT / path) for path in options["extensions"]))
    allowed = {name: value == "true" for name, value in options["docstring_options"].items()}
    package = griffe.load("flowvocoder", search_paths=[str(ROOT)], extensions=extensions)
    read, waiting = 0, [package]
    while waiting:
        here = waiting.pop()
        waiting += [member for member in here.members.values() if member.is_public and not member.is_alias]
        if here.docstring:
            read += len(here.docstring.parse(options["docstring_style"], **allowed))
    assert read > 1000 and not caplog.records, caplog.text


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|audio|source|iframe)[^>]*\bsrc=\"(?:https?:)?//|<link[^>]*href=\"(?:https?:)?//"
    )
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\"?https?:|@import \"?https?:", style.read_text(encoding="utf-8")), style


def test_generated_pages_say_what_the_code_says(site: Path) -> None:
    def text(page: str) -> str:
        return (site / page).read_text(encoding="utf-8")

    assert "flowvocoder bench infer" in text("reference/cli.html") and "--against" in text("reference/cli.html")
    assert "train.optim.batch" in text("reference/settings.html") and "lapglow-tiny" in text("reference/settings.html")
    assert "ljspeech" in text("reference/corpora.html")
    assert "parallelwavegan" in text("reference/mels.html")
    assert "checkpoint" in text("reference/architecture.html")
    assert "synthesize" in text("api/index.html")
    assert "--low-band-iters" in text("reference/glossary.html")


def test_what_the_gallery_plays_is_there_and_small(site: Path) -> None:
    sources = re.findall(r'<audio[^>]*src="([^"]+)"', (site / "gallery.html").read_text(encoding="utf-8"))
    files = [site / source for source in sources]
    assert len(files) == 16 and {sf.info(file).subtype for file in files} == {"OPUS"}
    assert all(3.9 < sf.info(file).duration < 4.5 for file in files)
    assert sum(file.stat().st_size for file in files) < 600_000
    assert sum(plot.stat().st_size for plot in (site / "gallery").glob("*.webp")) < 400_000
    assert sum(plot.stat().st_size for plot in (site / "flows").glob("*.webp")) < 1_500_000


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def some_of(pages: list[Path], kind: str) -> list[Path]:
    """All but those of the kind, and its largest: its pages are made alike, by a program."""
    alike = [page for page in pages if page.parent.name == kind]
    return [page for page in pages if page not in alike or page == max(alike, key=lambda page: page.stat().st_size)]


WIDTHS = """async ([paths, width, scripts]) => {
    const widths = {}, frame = document.createElement('iframe');
    frame.sandbox = 'allow-same-origin' + (scripts ? ' allow-scripts' : '');
    frame.style = `width: ${width}px; height: 844px; border: 0`;
    document.body.replaceChildren(frame);
    for (const path of paths) {
        await new Promise((loaded) => { frame.onload = loaded; frame.src = '/' + path; });
        widths[path] = frame.contentDocument.documentElement.scrollWidth;
    }
    return widths;
}"""
"""Of pages in a frame, which is a phone to them. A window of their own costs twice as much."""


@pytest.mark.long
def test_pages_fit_desktop_and_phone_and_search_finds(site: Path, address: str, thorough: bool) -> None:
    """On a phone all pages, but of the API one: without scripts, which have no part in their width and take longest."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium on this machine")
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": DESKTOP, "height": 844})
        page.set_default_timeout(180_000)
        page.on("console", lambda m: m.type == "error" and "is sandboxed" not in m.text and complaints.append(m.text))
        page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or complaints.append(r.url))
        index = "**/search_index.json"  # each page would read it all
        page.route(index, lambda route: route.fulfill(json=EMPTY))
        for path in sorted(site.glob("*.html")):
            page.goto(address + path.name)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= DESKTOP, f"{path.name} is {wide} pixels wide, the window {DESKTOP}"
        pages = sorted(site.rglob("*.html"))
        paths = [path.relative_to(site).as_posix() for path in (pages if thorough else some_of(pages, "api"))]
        for name, wide in page.evaluate(WIDTHS, [paths, PHONE, thorough]).items():
            assert 0 < wide <= PHONE, f"{name} is {wide} pixels wide, a phone {PHONE}"
        page.unroute(index)
        page.goto(address + "index.html")
        search = page.get_by_placeholder("Search")
        search.press_sequentially("Griffin")  # the page looks at keys, and at what `fill` sets only if it comes at once
        page.locator(".md-search-result__item").first.wait_for(timeout=180_000)
        browser.close()
    assert not complaints, complaints
