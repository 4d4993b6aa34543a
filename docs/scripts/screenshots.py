"""Takes the pictures of pages in docs/assets: python docs/scripts/screenshots.py ADDRESS, of a demo that is running.

`--static` is of the page that vocodes in the browser (`make browser`), and prints how fast it is.

Needs Chromium and playwright.
"""

import argparse
import io
import shutil
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

OUT = Path(__file__).parents[1] / "assets"
WINDOW = (1280, 900)
PATIENCE = 180_000  # ms
QUALITY = 80  # of WebP


def resynthesize(panel: Locator) -> None:
    for _ in range(2):  # the first call is slower, and the picture shows the speed
        _press(panel, "Resynthesize")
    expect(panel.locator("[data-ready=true]")).to_be_visible()


def likelihood(panel: Locator) -> None:
    box = panel.get_by_label("number input for Noise, dB")
    box.fill("-45")
    box.press("Enter")
    _press(panel, "Score")
    expect(panel.locator("[data-ready=true]")).to_be_visible()


def flows(panel: Locator) -> None:
    panel.get_by_role("combobox", name="Set", exact=True).click()
    panel.page.get_by_role("option", name="pinwheel").click()
    _press(panel, "Fit")
    expect(panel.locator(".verdict")).to_contain_text("Press Sample")
    panel.get_by_role("button", name="Sample", exact=True).click()
    expect(panel.locator(".drawing img")).to_have_count(2)


TABS = {"Resynthesize": resynthesize, "Likelihood": likelihood, "Flows": flows}


def static(page: Page) -> str:
    """Vocodes the example three times, since the first one is slower, and shows the last."""
    said, example = page.get_by_role("status"), page.get_by_role("button", name="Example")
    start = time.monotonic()
    expect(example).to_be_enabled()
    print(f"loaded in {time.monotonic() - start:.1f} s")
    for _ in range(3):
        expect(example).to_be_enabled()
        example.click()
        expect(example).to_be_enabled(enabled=False)
        expect(said).to_contain_text("real time")
        print(said.inner_text())
    return "browser"


def _press(panel: Locator, button: str) -> None:
    """Presses a button and waits for another plot."""
    plot = panel.locator(".drawing img")
    before = plot.get_attribute("src") if plot.count() else ""
    panel.get_by_role("button", name=button, exact=True).click()
    expect(plot).to_be_visible()
    expect(plot).not_to_have_attribute("src", before or "")


def _taken(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # buttons and plots fade in
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture.save(OUT / f"{name}.webp", quality=QUALITY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of the demo: http://127.0.0.1:7860")
    parser.add_argument("tabs", nargs="*", metavar="TAB", default=list(TABS), help=f"of {', '.join(TABS)}")
    parser.add_argument("--static", action="store_true", help="it is the page that vocodes in the browser")
    arguments = parser.parse_args()
    expect.set_options(timeout=PATIENCE)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]}, color_scheme="light")
        page.goto(arguments.address)
        for name in [] if arguments.static else arguments.tabs:
            page.get_by_role("tab", name=name, exact=True).click()
            TABS[name](page.get_by_role("tabpanel").filter(visible=True))
            _taken(page, f"demo-{name.lower()}")
        if arguments.static:
            _taken(page, static(page))
        browser.close()


if __name__ == "__main__":
    main()
