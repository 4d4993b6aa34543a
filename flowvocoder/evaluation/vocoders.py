"""Vocoders that are measured: ours by engine, Griffin-Lim, and others with random weights (as fast as trained ones)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from flowvocoder.checkpoint import Checkpoint
from flowvocoder.errors import ConfigError
from flowvocoder.evaluation.griffin_lim import ITERATIONS, griffin_lim
from flowvocoder.extras import library
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.unfinished import scratch
from flowvocoder.vocoder import Vocoder

N_MELS, HOP, RATE = 80, 256, 22050
"""What the other systems are set to: the same frames for everyone."""


@dataclasses.dataclass
class System:
    """Something that makes audio of mels.

    Attributes:
        run: mel (B, n_mels, F) and a seed -> audio (B, F * hop_length).
        spec: of the mels it is given.
        vocoder: ours, for streaming; None for others and for engines that are not measured in streaming.
        latency_ms: of its streams; None: the voice's own.
        threads: on a CPU.
    """

    name: str
    engine: str
    parameters: int
    run: Callable[[Tensor, int], Tensor]
    spec: MelSpec = dataclasses.field(default_factory=lambda: convention("tacotron2"))
    vocoder: Vocoder | None = None
    latency_ms: float | None = None
    threads: int = 1

    @property
    def seconds_per_frame(self) -> float:
        return self.spec.hop_length / self.spec.sample_rate


def ours(
    name: str,
    checkpoint: Checkpoint,
    engines: list[str],
    precisions: list[str],
    threads: int,
    latency_ms: float | None = None,
) -> Iterator[System]:
    """One model in every requested engine, and in every precision where the engine has a choice.

    `reference` is the layers as training uses them; the others are what `synth --engine` takes.
    """
    spec, model = checkpoint.experiment.mel, checkpoint.model
    parameters = sum(p.numel() for p in model.parameters())
    for engine in engines:
        if engine in ("reference", "onnx"):
            run = _exported(checkpoint, threads) if engine == "onnx" else functools.partial(_reference, model)
            yield System(name, engine, parameters, run, spec)
            continue
        for precision in precisions:
            vocoder = Vocoder(model, checkpoint.card, checkpoint.postfilter, engine, precision)  # type: ignore[arg-type]
            vocoder.prepare()  # before anything is counted or timed
            label = engine if precision == "float32" else f"{engine} {precision}"
            yield of_vocoder(name, vocoder, label, **({} if latency_ms is None else {"latency_ms": latency_ms}))


def of_vocoder(name: str, vocoder: Vocoder, engine: str = "eager", **settings: Any) -> System:
    """A vocoder as it is, with `settings` of its `synthesize`."""
    parameters = sum(p.numel() for p in vocoder.parameters())

    def run(mel: Tensor, seed: int) -> Tensor:
        return vocoder.synthesize(mel, seed=seed, trust_mel=True, **settings)  # of recordings, or checked when read

    return System(name, engine, parameters, run, vocoder.spec, vocoder, settings.get("latency_ms"))


def griffin_lim_system(name: str, spec: MelSpec, iterations: int = ITERATIONS) -> System:
    """Griffin-Lim on mels of `spec`."""
    return System(name, "eager", 0, lambda mel, seed: griffin_lim(mel, spec, iterations, seed), spec)


def _reference(model: FlowVocoder, mel: Tensor, seed: int) -> Tensor:
    return model.sample(torch.randn(model.latent_shape(mel), device=mel.device), mel)


def _exported(checkpoint: Checkpoint, threads: int) -> Callable[[Tensor, int], Tensor]:
    from flowvocoder import runtime
    from flowvocoder.interop.onnx.export import export_folder

    with scratch("onnx") as folder:
        export_folder(checkpoint, folder)
        vocoder = runtime.Vocoder(folder, threads)
    return lambda mel, seed: torch.from_numpy(vocoder.synthesize(mel.cpu().numpy(), seed=seed, trust_mel=True))


def peer(name: str, device: torch.device) -> System:
    """A vocoder of somebody else's, in its own code, eager.

    Raises:
        ConfigError: unknown, or its package is not installed.
    """
    if name not in PEERS:
        raise ConfigError(f"unknown peer {name!r}: there are {', '.join(PEERS)}")
    try:
        return PEERS[name](device)
    except ImportError as error:
        raise ConfigError(f"the peer {name} needs {error.name}: pip install 'flowvocoder[bench]'") from error


def vocos_parts(device: torch.device) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Backbone and head of Vocos with random weights, in its published sizes. Raises ImportError."""
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    parts = VocosBackbone(N_MELS, 512, 1536, 8), ISTFTHead(512, 4 * HOP, HOP)
    return parts[0].to(device).eval(), parts[1].to(device).eval()


def _vocos(device: torch.device) -> System:
    net = torch.nn.Sequential(*vocos_parts(device))
    return System("vocos", "eager", _count(net), lambda mel, seed: net(mel))


def _vocos_onnx(device: torch.device) -> System:
    from flowvocoder.evaluation.vocos_onnx import write_vocos

    parts, runtime = vocos_parts(torch.device("cpu")), library("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with scratch("onnx") as folder:
        write_vocos(folder / "vocos.onnx", *parts, N_MELS, HOP)
        session = runtime.InferenceSession(str(folder / "vocos.onnx"), options, providers=["CPUExecutionProvider"])
    parameters = sum(map(_count, parts))
    return System(
        "vocos", "onnx", parameters, lambda mel, _: torch.from_numpy(session.run(None, {"mel": mel.numpy()})[0])
    )


def _hifigan(device: torch.device) -> System:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(  # V1 of the paper, at a hop of 256
        model_in_dim=N_MELS, sampling_rate=RATE, upsample_initial_channel=512, upsample_rates=[8, 8, 2, 2],
        upsample_kernel_sizes=[16, 16, 4, 4], normalize_before=False,
    )  # fmt: skip
    net: torch.nn.Module = SpeechT5HifiGan(config)
    net = net.to(device).eval()
    return System("hifigan-v1", "eager", _count(net), lambda mel, seed: net(mel.transpose(1, 2)))


def _griffin_lim(device: torch.device) -> System:
    return griffin_lim_system("griffin-lim-32", convention("tacotron2"), iterations=32)


PEERS = {"vocos": _vocos, "vocos-onnx": _vocos_onnx, "hifigan": _hifigan, "griffin-lim": _griffin_lim}


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
