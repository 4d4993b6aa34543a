"""An exported file in ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import CheckpointError
from flowvocoder.extras import library
from flowvocoder.files import reading

Floats = npt.NDArray[np.float32]


class ExportedGraph:
    """A file of `flowvocoder export`.

    Args:
        threads: of ONNX Runtime.

    Attributes:
        about: what the file says of itself.

    Raises:
        CheckpointError: missing, damaged, or not written by `flowvocoder export`.
        ConfigError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, threads: int = 1):
        onnxruntime = library("onnxruntime", "onnx")
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file: `flowvocoder export` writes it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        with reading(path, CheckpointError, "not an ONNX file of `flowvocoder export`"):
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            texts = self._session.get_modelmeta().custom_metadata_map
            self.about = {key: _value(text) for key, text in texts.items()}
            if self.about["format"] != "flowvocoder":
                raise KeyError("format")

    def __call__(self, **inputs: Any) -> list[Floats]:
        """The outputs for inputs by name."""
        outputs: list[Floats] = self._session.run(None, inputs)
        return outputs


class Flow:
    """The flow of one item step by step: `push` frames, get audio, `finish` at the end.

    Args:
        step: an export with --step.
        noise: frames -> their noise (1, M, frames * rate).
    """

    def __init__(self, step: ExportedGraph, noise: "Any"):
        self._step, self._noise = step, noise
        self._hop, self._delay = int(step.about["hop_length"]), int(step.about["delay"])
        self._state = [np.zeros((1, *shape), np.float32) for shape in step.about["state_shapes"]]
        self.frames = 0

    def push(self, mel: Floats, ends: bool = False) -> Floats:
        """The next frames (n_mels, f) -> samples (T,), `delay` late.

        Args:
            ends: they are the last; all that is still to come comes out.
        """
        start, length = self.frames, 2**48
        self.frames += mel.shape[1]
        early, late = max(0, self._delay - start * self._hop), None
        if ends:
            length = self.frames
            late = mel.shape[1] * self._hop + min(self._delay, start * self._hop) + early
            mel = np.pad(mel, ((0, 0), (0, -(-self._delay // self._hop))))
        if mel.shape[1] == 0:
            return np.zeros(0, np.float32)
        state = {f"state_{index}": tensor for index, tensor in enumerate(self._state)}
        audio, *self._state = self._step(
            mel=np.ascontiguousarray(mel[None], np.float32), noise=self._noise(mel.shape[1]),
            position=np.array(start, np.int64), length=np.array([length], np.int64), **state,
        )  # fmt: skip
        return audio[0, early:late]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
