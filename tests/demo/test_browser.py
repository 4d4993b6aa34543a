"""Every tab of the demo used as a person would, in a real Chromium, on a desk and on a phone."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from demo_fixtures import CHROMIUM, CHROMIUM_FLAGS, Server

from flowvocoder.cli.main import main
from flowvocoder.demo.fitting import FEWEST_ROWS, MOST_STEPS

needed = bool(os.environ.get("FLOWVOCODER_NEED_BROWSER"))
if not CHROMIUM and not needed:
    pytest.skip("no chromium on this machine: apt-get install chromium", allow_module_level=True)
if not needed:
    pytest.importorskip("playwright")

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.slow
expect.set_options(timeout=180_000)
STILL = """
requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 100);
cancelAnimationFrame = clearTimeout;
addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style');
    style.textContent = '*, *::before, *::after { animation: none !important; transition: none !important }';
    document.head.append(style);
})"""
"""Nothing moves by itself: without a GPU a browser takes a core to draw that a busy machine is to be waited for.

Scripts draw ten frames a second: once a page of Gradio's has loaded, a timer that nobody sees asks for frames for ever.
"""

SKIPS = {"Kathleen (English)": r"by 0\.199", "Kerstin (German)": r"by 0\.21"}
"""Of the examples of 4.0 and 4.3 s."""

UPLOAD = re.compile(r"/upload(\?|$)")

WINDOWS = {"desktop": (1280, 900, "light"), "phone": (390, 844, "dark")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, and what went wrong in it."""

    def __init__(self, browser: Browser, address: str, window: str):
        width, height, self.colours = WINDOWS[window]
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=self.colours, permissions=["microphone"]
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(180_000)
        self.page.add_init_script(STILL)
        self.width, self.complaints = width, list[str]()
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.on("response", lambda r: r.status >= 400 and self.complaints.append(f"{r.status}: {r.url}"))
        # Gradio asks how an upload comes on, and where it is over by then, the answer is 404.
        self.page.route(
            re.compile("/upload_progress"),
            lambda route: route.fulfill(content_type="text/event-stream", body='data: {"msg": "done"}\n\n'),
        )
        self.page.goto(address)

    def _check(self, url: str) -> None:
        if not re.match(r"(https?://(127\.0\.0\.1|localhost)[:/]|data:|blob:)", url):
            self.complaints.append(f"request to {url}")

    def tab(self, name: str) -> Locator:
        self.page.get_by_role("tab", name=name, exact=True).click()
        return self.page.get_by_role("tabpanel").filter(visible=True)

    def fits(self) -> bool:
        """Nothing makes the page wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth")) <= self.width


@pytest.fixture(scope="module", params=WINDOWS)
def open_page(request: pytest.FixtureRequest, browser: Browser, demo: Server) -> Iterator[Visit]:
    visit = Visit(browser, demo.address, request.param)
    expect(visit.page.get_by_role("heading", name="flowvocoder")).to_be_visible()
    yield visit
    visit.context.close()
    assert not demo.foreign_hosts(), "the server spoke to other machines"


behaviour = pytest.mark.parametrize(
    "open_page", ["desktop", pytest.param("phone", marks=pytest.mark.thorough)], indirect=True
)
"""What has nothing to do with the size of the window is tried on a phone by `make thorough` alone."""


@pytest.fixture
def visit(open_page: Visit) -> Iterator[Visit]:
    """The page, in which the test must leave no complaint."""
    yield open_page
    complaints, open_page.complaints = open_page.complaints, []
    assert not complaints, complaints
    assert open_page.fits(), "the page is wider than the window"


def press(panel: Locator, button: str) -> None:
    panel.get_by_role("button", name=button, exact=True).click()


def give(panel: Locator, path: Path, label: str = "Recording") -> None:
    """Put a file where there is none, or in place of the one there is, and wait until the server has it."""
    with panel.page.expect_response(UPLOAD):
        drop(panel, path, label)


def drop(panel: Locator, path: Path, label: str) -> None:
    """The same without waiting."""
    block = panel.locator(".block", has=panel.page.get_by_text(label, exact=True))
    for button in ("Clear", "Upload file"):  # the second after a microphone was in use
        if block.get_by_label(button).first.is_visible():
            block.get_by_label(button).first.click()
    panel.locator("input[type=file]").first.set_input_files(path)


def take(panel: Locator, example: str) -> None:
    """Press an example, and wait until its recording is there: its player skips by a twentieth of its length."""
    press(panel, example)
    skip = panel.get_by_label(re.compile("^Skip forward by")).first
    expect(skip).to_have_attribute("aria-label", re.compile(SKIPS[example]))


def figure(panel: Locator, name: str) -> Locator:
    return panel.locator(".numbers > div", has=panel.page.locator("dt", has_text=re.compile(f"^{name}$"))).locator("dd")


def plots(panel: Locator) -> Locator:
    return panel.locator(".drawing img")


def ground(panel: Locator) -> int:
    """Brightness of a plot's corner, up to 255."""
    return int(
        plots(panel).evaluate("""async (image) => {
        await image.decode();
        const drawn = new OffscreenCanvas(1, 1).getContext('2d');
        drawn.drawImage(image, 0, 0);
        return drawn.getImageData(0, 0, 1, 1).data[0];
    }""")
    )


def set_to(panel: Locator, slider: str, value: float) -> None:
    box = panel.get_by_label(f"number input for {slider}")
    box.fill(str(value))
    box.press("Enter")


def message(visit: Visit) -> str:
    """The text of the error message in the page, which is then closed."""
    toast = visit.page.get_by_test_id("toast-body").first
    expect(toast).to_be_visible()
    text = toast.inner_text()
    visit.page.get_by_test_id("toast-close").first.click()
    expect(toast).to_be_hidden()
    return text


def test_every_tab_fits(visit: Visit) -> None:
    expect(visit.page.get_by_role("tab").first).to_be_visible()
    names = [name.strip() for name in visit.page.get_by_role("tab").all_text_contents()]
    assert len(names) > 6
    for name in names:
        expect(visit.tab(name)).to_be_visible()
        assert visit.fits(), f"{name} is wider than the window"


def test_resynthesize_an_upload_and_download_it(visit: Visit, wav: Path, tmp_path: Path) -> None:
    panel = visit.tab("Resynthesize")
    give(panel, wav)
    set_to(panel, "Temperature", 0.5)
    press(panel, "Resynthesize")
    expect(figure(panel, "Length")).to_have_text("1.2 s")
    expect(figure(panel, "Speed")).to_contain_text("×")
    expect(plots(panel)).to_be_visible()
    assert (ground(panel) < 64) == (visit.colours == "dark")
    vocoded = panel.locator(".block", has=visit.page.get_by_text("Vocoded", exact=True))
    with visit.page.expect_download() as download:
        vocoded.get_by_label("Download").first.click()
    download.value.save_as(tmp_path / "out.wav")
    assert sf.info(tmp_path / "out.wav").frames == sf.info(wav).frames
    with visit.page.expect_download() as download:
        panel.get_by_text("Download the mel").click()
    download.value.save_as(tmp_path / "mel.npy")
    assert np.load(tmp_path / "mel.npy").shape == (80, sf.info(wav).frames // 256 + 1)


@behaviour
def test_resynthesize_a_recording_from_the_microphone(visit: Visit) -> None:
    panel = visit.tab("Resynthesize")
    panel.get_by_label("Clear").first.click()
    panel.get_by_label("Record audio").first.click()
    press(panel, "Record")
    # Two seconds or more by the recorder's own clock, which a busy machine starts late: no other recording is as long.
    expect(panel.locator("time.duration").filter(visible=True).first).to_have_text(re.compile(r":0[2-9]|:[1-9]"))
    with visit.page.expect_response(lambda response: "/upload" in response.url):  # the player is there before the file
        press(panel, "Stop")
    expect(panel.get_by_label("Play", exact=True).first).to_be_visible()
    press(panel, "Resynthesize")
    expect(figure(panel, "Length")).not_to_have_text("1.2 s")
    seconds = float(figure(panel, "Length").inner_text().split()[0])
    assert seconds > 1.5


@behaviour
def test_a_text_file_for_audio_is_refused_in_the_page(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    panel = visit.tab("Resynthesize")
    give(panel, tmp_path / "text.wav")
    press(panel, "Resynthesize")
    assert "text.wav: cannot be read as audio" in message(visit)
    visit.complaints.clear()  # the browser itself says that it cannot decode it
    take(panel, "Kathleen (English)")
    press(panel, "Resynthesize")
    expect(figure(panel, "Length")).to_have_text("4.0 s")


@behaviour
def test_mel_is_checked_and_heard_while_it_is_made(visit: Visit, checkpoint: Path, wav: Path, tmp_path: Path) -> None:
    mel = tmp_path / "m.npy"
    assert main(["mel", str(wav), str(mel), "--checkpoint", str(checkpoint)]) == 0
    np.save(tmp_path / "db.npy", 8.7 * np.load(mel))
    panel = visit.tab("Mel to speech")
    give(panel, tmp_path / "db.npy", "Mel file")
    expect(panel.locator(".verdict")).to_contain_text("looks like decibels")
    press(panel, "Speak")
    assert "looks like decibels" in message(visit)
    give(panel, mel, "Mel file")
    expect(panel.locator(".verdict")).not_to_contain_text("looks like decibels")
    panel.get_by_label("Synthesise it whatever it looks like").check()  # it is not quite speech
    press(panel, "Speak")
    live = panel.locator("#live [data-over]")
    expect(live).to_have_attribute("data-over", "true")
    assert float(live.get_attribute("data-played") or 0) == pytest.approx(1.2, abs=0.1)
    expect(panel.locator(".live span")).to_contain_text("Played 1.2 s")
    expect(plots(panel)).to_be_visible()
    press(panel, "Take an example: Kathleen's mel")
    expect(panel.locator(".verdict")).to_contain_text("It looks like tacotron2")


@behaviour
def test_latent_mixed_and_decoded(visit: Visit, wav: Path) -> None:
    panel = visit.tab("Latent")
    give(panel, wav)
    press(panel, "Encode and decode")
    expect(figure(panel, "Round trip")).to_have_text(re.compile(r"^\de-0[5-9]$"))
    deviation = float(figure(panel, "Deviation").inner_text())
    set_to(panel, "Temperature", 0.5)
    set_to(panel, "Mix", 0.5)
    panel.get_by_role("button", name="The other recording").click()
    take(panel.locator(".block", has_text="Its z is mixed in").last.locator(".."), "Kerstin (German)")
    press(panel, "Encode and decode")
    expect(figure(panel, "Deviation")).not_to_have_text(f"{deviation:.3f}")
    assert float(figure(panel, "Deviation").inner_text()) < 0.8 * deviation
    expect(plots(panel)).to_be_visible()


def test_an_edit_changes_the_length_and_can_be_switched_to(visit: Visit, wav: Path) -> None:
    panel = visit.tab("Edit")
    give(panel, wav)
    set_to(panel, "Speed", 2)
    set_to(panel, "Pitch", 2)
    press(panel, "Edit")
    expect(plots(panel)).to_be_visible()
    expect(panel.locator("[data-ready]")).to_have_attribute("data-ready", "true")


@behaviour
def test_faults_are_found_and_the_first_is_shown(visit: Visit, tmp_path: Path) -> None:
    samples, rate = sf.read("flowvocoder/examples/kathleen.flac")
    samples[rate : rate + rate // 10] = 0.0
    sf.write(tmp_path / "gap.wav", samples, rate)
    panel = visit.tab("Faults")
    with panel.page.expect_response(UPLOAD):
        panel.locator("input[type=file]").first.set_input_files(tmp_path / "gap.wav")
    press(panel, "Find faults")
    expect(panel.get_by_label("Span to hear")).to_have_value(re.compile("gap.wav: "))
    expect(plots(panel)).to_be_visible()


@behaviour
def test_likelihood_falls_with_damage(visit: Visit, wav: Path) -> None:
    panel = visit.tab("Likelihood")
    give(panel, wav)
    set_to(panel, "Noise, dB", -60)
    press(panel, "Score")
    expect(figure(panel, "Change")).to_have_text("+0.00")
    set_to(panel, "Noise, dB", -20)
    set_to(panel, "Gap, ms", 200)
    press(panel, "Score")
    expect(figure(panel, "Change")).to_have_text(re.compile(r"^-\d"))
    expect(plots(panel)).to_be_visible()
    panel.get_by_role("button", name="Score several recordings").click()
    with visit.page.expect_response(UPLOAD):
        panel.locator("input[type=file]").last.set_input_files([wav, wav])
    press(panel, "Score all")
    expect(panel.locator(".table tbody tr")).to_have_count(2)


@behaviour
def test_compare_blind_and_vote(visit: Visit, wav: Path) -> None:
    panel = visit.tab("Compare")
    give(panel, wav)
    press(panel, "New pair")
    expect(panel.locator(".verdict")).to_have_text("Listen to both, then vote.")
    expect(panel.get_by_label("Play", exact=True)).to_have_count(3)
    press(panel, "B is better")
    expect(panel.locator(".verdict")).to_contain_text("You said B sounds better. A was ")
    expect(panel.locator(".table tbody tr")).to_have_count(2)
    expect(plots(panel)).to_be_visible()
    press(panel, "B is better")
    assert "press New pair" in message(visit)


@behaviour
def test_walk_through_the_flow(visit: Visit, wav: Path) -> None:
    panel = visit.tab("How a flow works")
    give(panel, wav)
    press(panel, "Walk through")
    expect(panel.locator(".table tbody tr").first).to_contain_text("1. Recording")
    expect(panel.locator(".table tbody tr").last).to_contain_text("the latent z")
    steps = panel.locator(".table tbody tr").count()
    expect(panel.locator(".thumbnail-small")).to_have_count(steps)
    expect(panel.locator(".caption").first).to_contain_text("1. Recording")
    panel.locator(".thumbnail-small").nth(2).click()
    expect(panel.locator(".caption").first).to_contain_text("3. Transform")


def choose(panel: Locator, name: str, option: str) -> None:
    panel.get_by_role("combobox", name=name, exact=True).click()
    panel.page.get_by_role("option", name=option).click()


STEP = re.compile("[1-9]")
"""Any: on a busy machine some of what a page shows is gone before it is looked at."""


def fit_without_end(panel: Locator) -> None:
    """Begins a fit of as many steps as there may be, which `demo_server.py` has go on until it is stopped."""
    set_to(panel, "Steps", MOST_STEPS)
    press(panel, "Fit")
    expect(panel.locator(".verdict")).to_contain_text("It is being fitted")  # nothing of an earlier one is left
    expect(figure(panel, "Step")).to_have_text(STEP)


@behaviour
def test_a_flow_is_fitted_live_stopped_and_sampled(visit: Visit) -> None:
    panel = visit.tab("Flows")
    press(panel, "Sample")
    assert "press Fit" in message(visit)
    choose(panel, "Family", "nice")
    choose(panel, "Set", "ring-of-eight")
    set_to(panel, "Rows", FEWEST_ROWS)
    fit_without_end(panel)
    picture, nats = plots(panel).get_attribute("src") or "", float(figure(panel, "Held out").inner_text())
    expect(plots(panel)).not_to_have_attribute("src", picture)
    press(panel, "Stop")
    expect(panel.locator(".verdict")).to_contain_text("Stopped after step")
    assert float(figure(panel, "Held out").inner_text()) >= nats, "the best so far"
    assert (ground(panel) < 64) == (visit.colours == "dark")
    step = figure(panel, "Step").inner_text()
    assert visit.fits()
    press(panel, "Sample")
    expect(plots(panel)).to_have_count(2)
    assert figure(panel, "Step").inner_text() == step, "it has stopped"
    picture = plots(panel).last.get_attribute("src") or ""
    panel.get_by_label("Seed").fill("1")
    press(panel, "Sample")
    expect(plots(panel).last).not_to_have_attribute("src", picture)


@pytest.mark.thorough
def test_a_flow_of_pictures_is_fitted_and_sampled(visit: Visit) -> None:
    panel = visit.tab("Flows")
    choose(panel, "Set", "digits")
    expect(panel.get_by_role("combobox", name="Family", exact=True)).to_have_value(re.compile("^glow"))
    fit_without_end(panel)
    press(panel, "Stop")
    expect(panel.locator(".verdict")).to_contain_text("Stopped after step")
    expect(plots(panel)).to_have_count(1)
    assert float(figure(panel, "Held out").inner_text()) < -50, "nats of 64 pixels"
    assert (ground(panel) < 64) == (visit.colours == "dark")
    press(panel, "Sample")
    expect(plots(panel)).to_have_count(2)


@behaviour
def test_the_set_of_pictures_chooses_a_family_of_pictures(visit: Visit) -> None:
    panel = visit.tab("Flows")
    choose(panel, "Set", "digits")
    expect(panel.get_by_role("combobox", name="Family", exact=True)).to_have_value(re.compile("^glow"))


@pytest.mark.thorough
def test_a_closed_page_stops_its_fit(browser: Browser, demo: Server) -> None:
    """There is one fit at a time, and another visitor's begins."""
    gone = Visit(browser, demo.address, "desktop")
    panel = gone.tab("Flows")
    choose(panel, "Family", "nice")
    set_to(panel, "Rows", FEWEST_ROWS)
    fit_without_end(panel)
    gone.context.close()
    other = Visit(browser, demo.address, "desktop")
    panel = other.tab("Flows")
    choose(panel, "Family", "nice")
    set_to(panel, "Rows", FEWEST_ROWS)
    set_to(panel, "Steps", 50)
    press(panel, "Fit")
    expect(figure(panel, "Step")).to_have_text(STEP)
    other.context.close()


SWITCHED = """async (box) => {
    const play = box.querySelector('.play'), sides = box.querySelectorAll('.side'), state = box.dataset;
    for (;;) {
        sides[0].click();
        play.click();
        do await new Promise(requestAnimationFrame); while (state.playing === 'true' && !(state.at >= 0.1));
        if (state.playing !== 'true') continue;
        const before = Number(state.at), started = state.starts;
        sides[1].click();
        play.click();
        if (state.playing === 'false') return {...state, before, started};
        play.click();
    }
}"""
"""Plays the first, switches and pauses. Where a busy machine lets the four seconds pass before that, again."""


@behaviour
def test_switch_between_both_at_the_same_position(visit: Visit) -> None:
    panel = visit.tab("Resynthesize")
    take(panel, "Kerstin (German)")
    press(panel, "Resynthesize")
    expect(figure(panel, "Length")).to_have_text("4.3 s")
    both = panel.locator("[data-ready]")
    expect(both).to_have_attribute("data-ready", "true")
    played = both.evaluate(SWITCHED)
    assert played["side"] == "1" and played["playing"] == "false"
    assert played["starts"] == played["started"], "it did not begin again"
    assert 0.1 <= played["before"] <= float(played["at"]) <= 4.4
    both.get_by_label("Position").fill("0.5")
    expect(both.locator(".time")).to_contain_text("2.1 of 4.3 s")


@behaviour
def test_what_is_refused_leaves_one_sentence_and_no_results(visit: Visit) -> None:
    panel = visit.tab("Resynthesize")
    take(panel, "Kathleen (English)")
    with visit.page.expect_request(re.compile(r"/image\.png$")):  # the figures may be there from before
        press(panel, "Resynthesize")
    expect(figure(panel, "Length")).to_have_text("4.0 s")
    panel.get_by_label("Seed").fill("")
    press(panel, "Resynthesize")
    assert "Seed must be a number" in message(visit)
    expect(panel.locator(".empty")).to_be_visible()
    expect(plots(panel)).to_be_hidden()
    panel.get_by_label("Seed").fill("0")
    panel = visit.tab("Compare")
    for box in panel.get_by_role("checkbox").all():
        box.uncheck()
    press(panel, "New pair")
    assert "at least two systems" in message(visit)
    expect(panel.locator(".empty")).to_be_visible()
    for box in panel.get_by_role("checkbox").all():
        box.check()


@behaviour
def test_a_file_that_is_too_large_is_refused(visit: Visit, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(70 * 2**20)
    panel = visit.tab("Resynthesize")
    drop(panel, large, "Recording")
    assert "maximum allowed size" in message(visit)
    visit.complaints.clear()  # the refusal has the status 413
    press(panel, "Kathleen (English)")
    expect(panel.get_by_label("Play", exact=True).first).to_be_visible()
