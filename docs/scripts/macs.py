"""Parameters and multiplications of vocoders: python docs/scripts/macs.py VOICE.onnx

Prints the table of docs/results/speed.md. HiFi-GAN and BigVGAN are counted from the sizes that their authors publish,
WaveGlow and ours as PyTorch counts them, and exported files by what ONNX Runtime multiplies when it runs them.
"""

import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from flowvocoder.checkpoint import build_model, load_checkpoint
from flowvocoder.evaluation.vocoders import of_vocoder, peer, vocos_parts
from flowvocoder.evaluation.vocos_onnx import write_vocos
from flowvocoder.presets import preset
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import BUNDLED_VOICE


@dataclasses.dataclass
class Upsampler:
    """Sizes of HiFi-GAN (Kong et al. 2020), whose generator BigVGAN (Lee et al. 2023) keeps.

    Attributes:
        bands, rate: of the mel, samples a second; channels: after the first convolution, halved by every upsampling.
        rates, kernels: of the upsamplings; blocks: kernels of the residual blocks, six convolutions each.
        activations: whether every channel has two parameters at each activation (Snake).
    """

    bands: int
    rate: int
    channels: int
    rates: tuple[int, ...]
    kernels: tuple[int, ...]
    blocks: tuple[int, ...] = (3, 7, 11)
    activations: bool = False

    def counted(self) -> tuple[int, float]:
        """Parameters, and multiplications a second of audio."""
        frames = self.rate / math.prod(self.rates)
        weights = self.bands * self.channels * 7
        parameters, macs = weights + self.channels, weights * frames
        channels, places = self.channels, frames
        for rate, kernel in zip(self.rates, self.kernels, strict=True):
            weights = channels * (channels // 2) * kernel
            macs += weights * places
            channels, places = channels // 2, places * rate
            parameters += weights + channels
            weights = 6 * channels**2 * sum(self.blocks)
            snakes = 6 * len(self.blocks) * 2 * channels if self.activations else 0
            parameters += weights + 6 * len(self.blocks) * channels + snakes
            macs += weights * places
        parameters += channels * 7 + 1 + (2 * channels if self.activations else 0)
        return parameters, macs + channels * 7 * places


HIFIGAN = Upsampler(80, 22050, 512, (8, 8, 2, 2), (16, 16, 4, 4))
BIGVGAN = Upsampler(100, 24000, 1536, (4, 4, 2, 2, 2, 2), (8, 8, 4, 4, 4, 4), activations=True)


def exported(path: Path, inputs: dict[str, Any]) -> float:
    """Multiplications of a file for these inputs: of matrix products and convolutions."""
    graph = onnx.load(path).graph
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    kernels = {node.name: sizes.get(node.input[1]) for node in graph.node if node.op_type == "Conv"}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    total = 0
    for event in events:
        about = event.get("args", {})
        kind = about.get("op_name", "")
        if not event["name"].endswith("_kernel_time") or not any(word in kind for word in ("MatMul", "Gemm", "Conv")):
            continue
        given, made = ([*map(_shape, about[key])] for key in ("input_type_shape", "output_type_shape"))
        if "Conv" in kind:
            kernel = kernels.get(event["name"].removesuffix("_kernel_time")) or given[1]
            total += math.prod(made[0]) * math.prod(kernel[1:])
        else:  # whichever way round the first factor lies in memory
            total += math.prod(given[0]) * made[0][-1]
    return total


def _shape(typed: dict[str, list[int]]) -> list[int]:
    return next(iter(typed.values()))


def rows(voice: Path) -> Iterator[tuple[str, float, float, str]]:
    """(what, parameters, multiplications a second, how counted)"""
    seconds, frames = 2.0, round(2.0 * 22050 / 256)
    mel = torch.full((1, 80, frames), -4.0)
    checkpoint = load_checkpoint(BUNDLED_VOICE)
    vocoder = Vocoder(checkpoint.model, checkpoint.card, checkpoint.postfilter)
    vocoder.prepare()  # folding the weights is no part of synthesis
    ours = of_vocoder("flowvocoder", vocoder)
    waveglow, few = build_model(preset("waveglow-256")).eval(), mel[..., :22]
    other = peer("vocos", torch.device("cpu"))
    systems: list[tuple[str, int, torch.Tensor, Callable[[torch.Tensor], Any]]] = [
        ("flowvocoder", ours.parameters, mel, lambda mel: ours.run(mel, 0)),
        ("Vocos", other.parameters, mel, lambda mel: other.run(mel, 0)),
        ("WaveGlow", sum(p.numel() for p in waveglow.parameters()), few,
         lambda mel: waveglow.sample(torch.randn(waveglow.latent_shape(mel)), mel)),
    ]  # fmt: skip
    for name, parameters, given, run in systems:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run(given)
        macs = counter.get_total_flops() / 2 / (given.shape[2] * 256 / 22050)
        yield name, parameters, macs, "PyTorch, without Fourier transforms"
    block = int(next(x.value for x in onnx.load(voice).metadata_props if x.key == "block"))
    noise = np.random.default_rng(0).standard_normal((1, block, frames * 256 // block), np.float32)
    inputs = {"mel": mel.numpy(), "noise": noise, "length": np.array([frames])}
    yield "flowvocoder, exported", ours.parameters, exported(voice, inputs) / seconds, "ONNX Runtime"
    with tempfile.TemporaryDirectory() as folder:
        vocos = Path(folder) / "vocos.onnx"
        write_vocos(vocos, *vocos_parts(torch.device("cpu")), 80, 256)
        macs = exported(vocos, {"mel": mel.numpy()}) / seconds
    yield "Vocos, exported", other.parameters, macs, "ONNX Runtime"
    for name, sizes in (("HiFi-GAN V1", HIFIGAN), ("BigVGAN", BIGVGAN)):
        yield name, *sizes.counted(), f"arithmetic, {sizes.rate} Hz"


def main(voice: Path) -> None:
    print("| vocoder | M parameters | GMAC a second of audio | counted by |\n|---|---|---|---|")
    for name, parameters, macs, how in rows(voice):
        print(f"| {name} | {parameters / 1e6:.1f} | {macs / 1e9:.2f} | {how} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
