"""What an acoustic model is, and the one that works without any download."""

import threading
from collections.abc import Callable
from pathlib import Path

import torch

from flowvocoder.audio.resample import resample
from flowvocoder.errors import ConfigError
from flowvocoder.extras import library
from flowvocoder.files import reading
from flowvocoder.mel.files import Mel
from flowvocoder.mel.toolkits import Toolkit
from flowvocoder.text.limits import checked_text
from flowvocoder.text.onnx import OnnxAcoustic
from flowvocoder.text.program import Program
from flowvocoder.vocoder import Vocoder

Acoustic = Callable[[str, float, int], tuple[Mel, Toolkit]]
"""Text, speed and seed -> numbers (n_mels, F), and whose they are."""

HIBARI = "hibari"


def acoustic(name: str | None, vocoder: Vocoder) -> Acoustic:
    """An acoustic model: `hibari` or None, a Python file, or the description of an ONNX file (`docs/how-to/say.md`).

    Raises:
        ConfigError: its library is not installed, or the file is none.
        MelError: the voice cannot serve its mels.
    """
    if name in (None, HIBARI):
        return Hibari(vocoder)
    path = Path(str(name))
    return Program(path, vocoder.spec) if path.suffix == ".py" else OnnxAcoustic(path, vocoder.spec)


class Hibari:
    """`hibari-tts`: English, all of it in its wheel (Apache-2.0). The mel is that of its speech. Threads may share it.

    Raises:
        ConfigError: it is not installed.
    """

    language = "en"

    def __init__(self, vocoder: Vocoder):
        hibari = library("hibari", "say")
        self._vocoder, self._model, self._lock = vocoder, hibari.Hibari(), threading.Lock()

    def __call__(self, text: str, speed: float, seed: int) -> tuple[Mel, Toolkit]:
        """Raises ConfigError: nothing of the text can be said, or the model fails on it."""
        text = checked_text(text, speed)
        with self._lock, reading(Path(HIBARI), ConfigError, "fails on this text"):
            audio = self._model(text, speed=speed, seed=seed)
        if not len(audio):
            raise ConfigError("nothing of the text can be said: it holds no English words or numbers")
        samples = resample(audio, int(self._model.sample_rate), self._vocoder.sample_rate)
        mel = self._vocoder.mel_for(torch.from_numpy(samples).clamp(-1.0, 1.0))
        return mel[0].cpu().numpy(), Toolkit(self._vocoder.spec)
