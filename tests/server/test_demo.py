"""The demo's page on the server."""

import tempfile
from pathlib import Path

import pytest
import soundfile as sf

pytest.importorskip("fastapi")
pytest.importorskip("hibari")
gradio_client = pytest.importorskip("gradio_client")

from command import refused  # noqa: E402
from serving import serving  # noqa: E402

from flowvocoder.cli import serve  # noqa: E402
from flowvocoder.vocoder import Vocoder  # noqa: E402

pytestmark = pytest.mark.slow


def test_a_text_is_said_on_the_page_and_the_server_serves_on(
    small_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flowvocoder.demo.app")  # takes seconds
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving(Vocoder.from_pretrained(small_voice), demo="small") as served:
        address = f"http://127.0.0.1:{served.port}/demo"
        client = gradio_client.Client(address, verbose=False, download_files=str(tmp_path))
        spoken, figures, _ = client.predict("Hello there.", api_name="/say")
        assert sf.info(spoken).duration == pytest.approx(figures[2]["value"], abs=0.01) and figures[2]["value"] > 0.4
        with pytest.raises(gradio_client.exceptions.AppError, match="601 characters, 600 are said"):
            client.predict("a" * 601, api_name="/say")
        assert served.ask("GET", "/v1/voice")[0] == 200 and served.application.places.requests == 0
        assert served.ask("GET", "/demo/gradio_api/proxy=http://elsewhere.example/")[0] == 403


def test_a_page_shows_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWVOCODER_API_KEY", "secret")
    for options in (["--demo"], ["--wyoming"], ["--wyoming", "0"]):
        assert f"{options[0]} needs a server without a key" in refused(
            capsys, "serve", "--checkpoint", tmp_path, *options
        )


@pytest.mark.parametrize(("key", "said"), [(" ", "holds no key"), ("schlüssel", "of ASCII"), ("a\nb", "one line")])
def test_a_key_that_not_all_can_send_is_refused(
    key: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.txt").write_text(key, encoding="utf-8")
    assert said in refused(capsys, "serve", "--checkpoint", tmp_path, "--api-key-file", tmp_path / "key.txt")
    monkeypatch.setenv("FLOWVOCODER_API_KEY", key)
    assert said in refused(capsys, "serve", "--checkpoint", tmp_path)


def test_blanks_around_a_key_are_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.txt").write_text(" secret\n")
    monkeypatch.setenv("FLOWVOCODER_API_KEY", " secret\n")
    assert serve._key(tmp_path / "key.txt") == serve._key(None) == "secret"
