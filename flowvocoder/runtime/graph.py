"""An exported file in ONNX Runtime."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flowvocoder.errors import CheckpointError
from flowvocoder.extras import library
from flowvocoder.files import reading
from flowvocoder.units import ceil_div

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

PIECE, CONTEXT = 1024, 160
"""Mel frames of the post-filter at once, and before and after them: what is further away changes samples by less than
1e-6 (see `postfilter.guided`), and with a refiner by less than 1e-5, which is how far it magnifies rounding."""


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
    """The flow step by step: `push` frames, get audio.

    Args:
        step: an export with --step.
        noise: frames -> their noise (B, M, frames * rate).
        length: frames of each item in all, (B,); None for one item whose length is not known yet.
    """

    def __init__(self, step: ExportedGraph, noise: Callable[[int], Floats], length: Integers | None = None):
        self._step, self._noise, self._length = step, noise, length
        self._hop, self._delay = int(step.about["hop_length"]), int(step.about["delay"])
        items = 1 if length is None else len(length)
        self._state = [np.zeros((items, *shape), np.float32) for shape in step.about["state_shapes"]]
        self._frames = 0

    def push(self, mel: Floats, ends: bool = False) -> Floats:
        """The next frames (B, n_mels, f) -> samples (B, T), `delay` late.

        Args:
            ends: they are the last; all that is still to come comes out.
        """
        start, length = self._frames, np.array([2**48])
        self._frames += mel.shape[2]
        early, late = max(0, self._delay - start * self._hop), None
        if ends:
            length = np.array([self._frames])
            late = mel.shape[2] * self._hop + min(self._delay, start * self._hop) + early
            mel = np.pad(mel, ((0, 0), (0, 0), (0, ceil_div(self._delay, self._hop))))
        if mel.shape[2] == 0:
            return np.zeros((len(mel), 0), np.float32)
        state = {f"state_{index}": tensor for index, tensor in enumerate(self._state)}
        audio, *self._state = self._step(
            mel=np.ascontiguousarray(mel, np.float32), noise=self._noise(mel.shape[2]),
            position=np.array(start, np.int64), length=length if self._length is None else self._length, **state,
        )  # fmt: skip
        return audio[:, early:late]


class PostFilter:
    """An exported post-filter over audio of any length, in pieces at places that do not depend on how it comes.

    Args:
        graph: for whole signals.
        length: frames of each item in all, (B,).
    """

    def __init__(self, graph: ExportedGraph, length: Integers):
        self._graph, self._length = graph, length
        self._hop = int(graph.about["hop_length"])
        self._mel: Floats | None = None  # from where the next piece's context begins
        self._audio: Floats | None = None
        self._start = self._next = 0  # frames: where they begin, where the next piece does

    def push(self, mel: Floats, audio: Floats, ends: bool = False) -> Floats:
        """The next frames (B, n_mels, f) and samples (B, T), which need not be in step -> samples.

        Args:
            ends: these are the last; everything that is still waiting comes out.
        """
        self._mel = mel if self._mel is None else np.concatenate([self._mel, mel], 2)
        self._audio = audio if self._audio is None else np.concatenate([self._audio, audio], 1)
        done = [audio[:, :0]]
        while True:
            arrived = self._start + min(self._mel.shape[2], self._audio.shape[1] // self._hop)
            needed = self._next + PIECE + CONTEXT
            if ends and arrived <= needed:
                return np.concatenate([*done, self._piece(self._mel, self._audio, arrived)], 1)
            if arrived < needed:
                return np.concatenate(done, 1)
            done.append(self._piece(self._mel, self._audio, self._next + PIECE))

    def _piece(self, mel: Floats, audio: Floats, stop: int) -> Floats:
        """The samples up to frame `stop`."""
        hop, start = self._hop, self._start
        now = mel[..., : stop + CONTEXT - start]
        samples = audio[:, : now.shape[2] * hop]
        length = np.clip(self._length - start, 0, now.shape[2])
        if length.max() > self._next - start:  # else there is only silence
            samples = self._graph(audio=np.ascontiguousarray(samples), mel=np.ascontiguousarray(now), length=length)[0]
        piece = samples[:, (self._next - start) * hop : (stop - start) * hop]
        spent = max(0, stop - CONTEXT - start)
        self._mel, self._audio = mel[..., spent:], audio[:, spent * hop :]
        self._start, self._next = start + spent, stop
        return piece


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
