"""Exported ONNX files in ONNX Runtime, with the interface of `Vocoder` that synthesis needs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowvocoder.audio.arrays import Numbers
from flowvocoder.checks import as_lengths, as_mel, check_plausible, checked_synthesis
from flowvocoder.errors import CheckpointError, ConfigError
from flowvocoder.files import reading
from flowvocoder.mel.conversion import MelConversion, as_source
from flowvocoder.mel.spec import MelSpec
from flowvocoder.mel.toolkits import Toolkit
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.runtime.graph import ExportedGraph
from flowvocoder.streaming.noise import NoiseSource, Seeds
from flowvocoder.streaming.pieces import CHUNK
from flowvocoder.units import ceil_div
from flowvocoder.voice_card import VoiceCard

ITERATIONS = (("gl_iters", "match"), ("low_band_iters", "low_match"))
"""What a file says of the post-filter's iterations, and how version 0.1 wrote it."""

Array = npt.NDArray[Any]


class OnnxVocoder:
    """An exported voice, whole or as a streaming step.

    Args:
        path: what `flowvocoder export --format onnx` wrote.
        threads: of ONNX Runtime.

    Raises:
        CheckpointError: missing, damaged, or not written by `flowvocoder export`.
        ConfigError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, threads: int = 1):
        self._graph = ExportedGraph(path, threads)
        with reading(path, CheckpointError, "not an ONNX file of `flowvocoder export`"):
            values = self._graph.about
            self.spec, self.card = MelSpec.from_dict(values["mel_spec"]), _card(values)
            self.variant, self._block, self._delay = (values[k] for k in ("variant", "block", "delay"))
            self._state_shapes = values.get("state_shapes", [])
            self._inside = values.get("postfilter") == "inside"
            self._rate = self.spec.hop_length // self._block
        self.sample_rate = self.spec.sample_rate
        self._postfilter = PostFilter(self.spec)

    def synthesize_pieces(
        self,
        mel: Numbers,
        temperature: float | None = None,
        *,
        seed: Seeds = None,
        lengths: Sequence[int] | None = None,
        gl_iters: int | None = None,
        low_band_iters: int | None = None,
        latency_ms: float | None = None,
        trust_mel: bool = False,
        convention: str | MelSpec | Toolkit | None = None,
    ) -> Iterator[Tensor]:
        """Audio (B, T) after (B, T) for a mel (n_mels, F) or (B, n_mels, F), as `Vocoder.synthesize_pieces`.

        A file for whole mels has the post-filter inside. Beside a step it runs in PyTorch, without a guide network.

        Raises:
            ConfigError: iterations that are not those in the file.
        """
        conversion = MelConversion(as_source(convention, self.spec), self.spec)
        postfilter = self._postfilter if conversion.exact else PostFilter(conversion.heard)
        given = as_mel(mel, conversion.given, postfilter.consistency.window).detach()
        given = conversion.source.undo(given)
        length = as_lengths(lengths, given)
        if not trust_mel:
            check_plausible(given, conversion.given, length)
        rest, moved, frames = conversion.mel(given, length), conversion.audio(length), given.shape[2]
        length = conversion.lengths(length)
        settings = postfilter.choose(self.card.postfilter, self._delay, gl_iters, low_band_iters, latency_ms)
        if self._inside:
            if settings != self.card.postfilter:
                raise ConfigError(f"the iterations are in the file: it runs {self.card.postfilter}, not {settings}")
            if not conversion.exact:
                raise ConfigError(f"the post-filter is in the file, for {self.spec.name()} mels: use one of --step")
            settings = PostfilterSettings()
        stages = postfilter.stages(settings, length)
        for audio in self._flow_pieces(conversion.for_flow(rest).numpy(), temperature, seed, length):
            yield checked_synthesis(moved.take(stages.push(rest[:, :, :CHUNK], audio), frames))
            rest = rest[:, :, CHUNK:]
        yield checked_synthesis(moved.take(stages.push(rest, audio[:, :0], ends=True), frames))

    def _flow_pieces(
        self, batch: Array, temperature: float | None, seed: Seeds, lengths: Tensor | None
    ) -> Iterator[Tensor]:
        scale = self.card.temperature if temperature is None else temperature
        source = NoiseSource(seed, len(batch), self._rate, self._block)

        def noise(frames: int) -> Array:
            return np.ascontiguousarray((scale * source.draw(frames)).numpy().swapaxes(1, 2))

        length = np.array([batch.shape[2]] * len(batch) if lengths is None else lengths.tolist(), np.int64)
        if self.variant == "whole":
            inputs = {"mel": batch, "noise": noise(batch.shape[2]), "length": length}
            yield torch.from_numpy(self._graph(**inputs)[0])
            return
        state = self.first_state(len(batch))
        samples, early = batch.shape[2] * self.spec.hop_length, self._delay
        rest = ceil_div(self._delay, self.spec.hop_length)
        batch = np.pad(batch, ((0, 0), (0, 0), (0, rest)))
        for first in range(0, batch.shape[2], CHUNK):
            now = np.ascontiguousarray(batch[:, :, first : first + CHUNK])
            audio, state = self.step(now, noise(now.shape[2]), first, length, state)
            audio, early = audio[:, early:][:, :samples], max(0, early - audio.shape[1])
            samples -= audio.shape[1]
            yield torch.from_numpy(audio)

    def first_state(self, items: int) -> list[Array]:
        """The state before the first step."""
        return [np.zeros((items, *shape), np.float32) for shape in self._state_shapes]

    def step(
        self, mel: Array, noise: Array, position: int, length: Array, state: list[Array]
    ) -> tuple[Array, list[Array]]:
        """One step of a streaming export: audio (B, f * hop_length), `delay` samples late, and the new state."""
        inputs = {"mel": mel, "noise": noise, "position": np.array(position, np.int64), "length": length}
        inputs |= {f"state_{i}": tensor for i, tensor in enumerate(state)}
        audio, *new = self._graph(**inputs)
        return audio, new


def _card(values: dict[str, Any]) -> VoiceCard:
    iterations = PostfilterSettings(*(values.get(new, values.get(old, 0)) for new, old in ITERATIONS))
    data = tuple(values["training_data"])
    return VoiceCard(
        licence=values["licence"], training_data=data, temperature=values["temperature"], postfilter=iterations
    )
