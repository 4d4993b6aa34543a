"""The script behind the gallery page."""

from pathlib import Path

import pytest
import soundfile as sf
from helpers import docs_script

import flowvocoder
from flowvocoder.voice_card import BUNDLED_VOICE

pytest.importorskip("PIL")
pytestmark = pytest.mark.slow


@pytest.mark.thorough
def test_every_system_is_heard_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = docs_script("gallery")
    audio, rate = sf.read(Path(flowvocoder.__file__).parent / "examples" / "kerstin.flac", frames=22_050)
    sf.write(tmp_path / "clip.flac", audio, rate)
    monkeypatch.setattr(gallery, "EXAMPLES", tmp_path)
    monkeypatch.setattr(gallery, "OUT", tmp_path / "out")
    gallery.main([f"other={BUNDLED_VOICE}"])
    made = {path.name: path for path in (tmp_path / "out").iterdir()}
    heard = ("recording", *gallery.VOICES, "stream-128", "stream-46", "flow", "other", "griffin-lim")
    assert set(made) == {"clip.webp", *(f"clip-{name}.ogg" for name in heard)}
    for name in heard:
        info = sf.info(made[f"clip-{name}.ogg"])
        assert info.samplerate == 24_000 and info.duration == pytest.approx(1.0, abs=0.05)
