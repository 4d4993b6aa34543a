"""Any ONNX file from symbols to a mel, by a description beside it."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from flowvocoder.errors import AcousticError, ConfigError, MelError
from flowvocoder.extras import library
from flowvocoder.files import read_json, reading
from flowvocoder.mel.conversion import MelConversion
from flowvocoder.mel.diagnose import implausible
from flowvocoder.mel.files import Mel, mel_of_numbers
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.toolkits import Toolkit, toolkit
from flowvocoder.text.limits import checked_text

IDS, LENGTH, SLOWNESS, SPEED = "ids", "length", "slowness", "speed"
"""What an input may be given: the symbols' numbers (1, L), how many they are (1,), 1 / speed, speed."""

MOST_FRAMES = 60_000
"""Of one text."""


@dataclasses.dataclass(frozen=True)
class Description:
    """The JSON file that describes a model.

    Attributes:
        model: the ONNX file, beside the description.
        convention: of its mels.
        symbols: every character that it knows, in the order of their numbers.
        blank: the number between, before and after all symbols, as Matcha-TTS and VITS want it; None for none.
        lower: whether text is put in lower case.
        inputs: by name: one of the words above, or a list of numbers and words.
        output: name of the mel, (1, n_mels, F).
        transposed: it is (1, F, n_mels).
        language: of the texts, ISO 639-1; programs that offer several voices ask for it.
    """

    model: str
    convention: str
    symbols: str
    inputs: dict[str, Any]
    output: str
    blank: int | None = None
    lower: bool = False
    transposed: bool = False
    language: str = "en"


def checked_mel(given: Any, model: Path, name: str) -> tuple[Mel, Toolkit]:
    """The numbers (n_mels, F) that a model gave, and whose they are. Raises AcousticError: they are no `name` mel."""
    source = toolkit(name)
    try:
        numbers = mel_of_numbers(given, model, source.spec, MOST_FRAMES)
    except MelError as error:
        raise AcousticError(str(error)) from error
    problem = implausible(source.undo(numbers), source.spec)
    if problem:
        raise AcousticError(f"{model}: gives no plausible {name} mel: {problem}")
    return numbers, source


class OnnxAcoustic:
    """An acoustic model as an ONNX file.

    Args:
        description: a JSON file, see `Description`.
        wanted: the voice's mels.

    Raises:
        ConfigError: the description or the model is not what it should be, or onnxruntime is not installed.
        MelError: the voice cannot serve its mels.
    """

    def __init__(self, description: Path, wanted: MelSpec):
        self.path = description
        values = read_json(description, ConfigError)
        with reading(description, ConfigError, "not the description of an acoustic model"):
            self.about = Description(**values)
            self._numbers = {symbol: number for number, symbol in enumerate(self.about.symbols)}
            if not isinstance(self.about.inputs, dict) or Path(self.about.model).name != self.about.model:
                raise ConfigError(f"{description}: model is the name of a file beside it, inputs an object")
        MelConversion(toolkit(self.about.convention), wanted)
        self.language = self.about.language
        runtime = library("onnxruntime", "say")
        model = description.parent / self.about.model
        if not model.is_file():
            raise ConfigError(f"{model}: no such file")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        with reading(model, ConfigError, "not an ONNX model that can be run"):
            self._session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._types = {one.name: one.type for one in self._session.get_inputs()}
        if set(self._types) != set(self.about.inputs):
            names = ", ".join(sorted(self._types))
            raise ConfigError(f"{description}: the model's inputs are {names}, not {', '.join(self.about.inputs)}")

    def __call__(self, text: str, speed: float, seed: int) -> tuple[Mel, Toolkit]:
        """Raises ConfigError: nothing of the text can be said; AcousticError: the model fails, or gives no such mel."""
        ids = self._ids(checked_text(text, speed))
        given = {name: self._value(name, what, ids, speed) for name, what in self.about.inputs.items()}
        with reading(self.path, AcousticError, "its model fails on this text"):
            mel = self._session.run([self.about.output], given)[0]
        mel = mel[0] if mel.ndim == 3 and len(mel) == 1 else mel
        return checked_mel(mel.T if self.about.transposed else mel, self.path, self.about.convention)

    def _ids(self, text: str) -> list[int]:
        text = text.lower() if self.about.lower else text
        known = [self._numbers[symbol] for symbol in text if symbol in self._numbers]
        if not known:
            raise ConfigError(f"{self.path.name}: knows no character of the text {text[:40]!r}")
        if self.about.blank is None:
            return known
        return [self.about.blank, *(number for one in known for number in (one, self.about.blank))]

    def _value(self, name: str, what: Any, ids: list[int], speed: float) -> Any:
        kind = np.int64 if "int" in self._types[name] else np.float32
        words = {SLOWNESS: 1.0 / speed, SPEED: speed}
        if what == IDS:
            return np.array([ids], kind)
        if what == LENGTH:
            return np.array([len(ids)], kind)
        values = [
            words.get(one, one) if isinstance(one, str) else one for one in (what if isinstance(what, list) else [what])
        ]
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in values):
            raise AcousticError(f"{self.path}: input {name} is {IDS}, {LENGTH}, {SLOWNESS}, {SPEED} or numbers")
        return np.array(values, kind)
