"""The page that vocodes in a browser, in a real Chromium."""

import base64
import functools
import http.server
import io
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf
import torch
from demo_fixtures import CHROMIUM, CHROMIUM_FLAGS
from helpers import docs_script, speech_like

from flowvocoder import runtime
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS, MelSpec

pytest.importorskip("onnx")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return docs_script("browser")


@pytest.mark.parametrize("spec", CONVENTIONS.values(), ids=lambda spec: spec.name())
def test_the_mel_as_a_graph(spec: MelSpec, script: ModuleType) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    audio = speech_like(0.5, spec.sample_rate, 0)[: 30 * spec.hop_length][None]
    session = onnxruntime.InferenceSession(script.mel_model(spec).SerializeToString())
    expected = MelFrontEnd(spec)(torch.from_numpy(audio))[..., :30].numpy()
    assert np.abs(session.run(None, {"audio": audio})[0] - expected).max() < 1e-3


@pytest.fixture(scope="module")
def address(
    exported_voice: tuple[Path, Path], script: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if not CHROMIUM or not shutil.which("npm"):
        pytest.skip("no chromium or no npm on this machine")
    try:
        script.onnxruntime_web()
    except subprocess.CalledProcessError:
        pytest.skip("npm does not reach its registry")
    folder = tmp_path_factory.mktemp("page")
    script.main(folder, exported_voice[1].with_name("whole.onnx"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


READ = """async () => {
  const bytes = new Uint8Array(await (await fetch(document.getElementById("vocoded").src)).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


def test_a_recording_and_a_mel_are_vocoded(address: str, exported_voice: tuple[Path, Path], tmp_path: Path) -> None:
    vocoder = runtime.Vocoder.from_pretrained(exported_voice[1])
    recording = speech_like(1.0, 22050, 1)[:22000]
    sf.write(tmp_path / "recording.wav", recording, 22050)
    mel = vocoder.mel_for(recording)
    np.save(tmp_path / "mel.npy", mel[0])
    np.save(tmp_path / "wide.npy", np.zeros((100, 40), np.float32))
    here = vocoder.mel_for(vocoder.synthesize(mel, seed=0))
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(180_000)
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or complaints.append(r.url))
        page.goto(address)
        page.get_by_text("Ready.").wait_for()
        for name, samples in (("recording.wav", 22000), ("mel.npy", 86 * 256)):
            page.set_input_files("#file", tmp_path / name)
            page.locator("#said").filter(has_text="× real time").wait_for()
            audio, rate = sf.read(io.BytesIO(base64.b64decode(page.evaluate(READ))), dtype="float32")
            assert rate == 22050 and len(audio) == samples
            # Other noise than here, but as near to the mel.
            there = vocoder.mel_for(audio)[..., :86]
            assert np.abs(there - mel).mean() < 1.1 * np.abs(here - mel).mean()
            assert page.locator("#before").is_visible() == name.endswith(".wav")
            page.evaluate("document.getElementById('said').textContent = ''")
        page.set_input_files("#file", tmp_path / "wide.npy")
        page.get_by_text("wide.npy: the mel has 100 bands, the voice takes 80").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert not complaints, complaints
