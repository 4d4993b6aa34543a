"""Any acoustic model, by a Python file that runs it."""

import contextlib
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path

from flowvocoder.errors import AcousticError, ConfigError, FlowVocoderError
from flowvocoder.files import reading
from flowvocoder.mel.conversion import MelConversion
from flowvocoder.mel.files import Mel
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.toolkits import Toolkit, toolkit
from flowvocoder.text.limits import checked_text
from flowvocoder.text.onnx import checked_mel


class Program:
    """A file with `convention`, a name, and `speak(text, speed, seed)`, which returns a mel (n_mels, F) of it.

    The file is run as it is, and `speak` by one thread at a time. `language` may say which one it speaks.

    Raises:
        ConfigError: it cannot be run, or lacks one of them.
        MelError: the voice cannot serve its mels.
    """

    def __init__(self, path: Path, wanted: MelSpec):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        with _running(path, ConfigError, "cannot be run"):
            names = runpy.run_path(str(path))
        if not callable(names.get("speak")) or not isinstance(names.get("convention"), str):
            raise ConfigError(f"{path}: must define speak(text, speed, seed) and convention, the name of its mels")
        self.path, self._speak, self._lock = path, names["speak"], threading.Lock()
        self.convention, self.language = names["convention"], str(names.get("language", "en"))
        MelConversion(toolkit(self.convention), wanted)

    def __call__(self, text: str, speed: float, seed: int) -> tuple[Mel, Toolkit]:
        """Raises AcousticError: it fails on this text, or what comes out is no mel of the convention."""
        text = checked_text(text, speed)
        with self._lock, _running(self.path, AcousticError, "fails on this text"):
            mel = self._speak(text, speed, seed)
        return checked_mel(mel, self.path, self.convention)


@contextlib.contextmanager
def _running(path: Path, kind: type[FlowVocoderError], problem: str) -> Iterator[None]:
    """As `reading`; a program that calls `sys.exit` has failed, too."""
    with reading(path, kind, problem):
        try:
            yield
        except SystemExit as error:
            raise RuntimeError("it calls sys.exit") from error
