"""What is measured: our models by engine, and other vocoders with random weights, which cost what trained ones do."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from flowvocoder.checkpoint import Checkpoint
from flowvocoder.errors import ConfigError
from flowvocoder.vocoder import Vocoder

N_MELS, HOP, RATE = 80, 256, 22050
"""What the other systems are set to: the same frames for everyone."""


@dataclasses.dataclass
class System:
    """Something that makes audio of mels.

    Attributes:
        run: mel (B, n_mels, F) -> audio.
        vocoder: ours, for streaming; None for others and for engines that are not measured in streaming.
        seconds_per_frame: of audio.
    """

    name: str
    engine: str
    parameters: int
    run: Callable[[Tensor], object]
    n_mels: int = N_MELS
    seconds_per_frame: float = HOP / RATE
    vocoder: Vocoder | None = None


def ours(name: str, checkpoint: Checkpoint, engines: list[str], device: torch.device, threads: int) -> Iterator[System]:
    """One model in every engine that was asked for.

    `reference` is the layers as training uses them; the others are what `synth --engine` takes.
    """
    spec, model = checkpoint.experiment.mel, checkpoint.model
    parameters = sum(p.numel() for p in model.parameters())
    for engine in engines:
        vocoder = Vocoder(model, checkpoint.about, "numba" if engine == "numba" else "eager")
        kind = System(name, engine, parameters, lambda mel: None, spec.n_mels, spec.hop_length / spec.sample_rate)
        if engine == "reference":
            yield dataclasses.replace(kind, run=lambda mel, v=vocoder: v.model.decode(v.draw_noise(mel, None, 0), mel))
        elif engine in ("eager", "numba"):
            yield dataclasses.replace(kind, run=lambda mel, v=vocoder: v.synthesize(mel, seed=0), vocoder=vocoder)
        elif engine == "onnx":
            if device.type != "cpu":
                raise ConfigError("the engine `onnx` is measured on the CPU only")
            exported = _exported(checkpoint, threads)
            yield dataclasses.replace(kind, run=lambda mel, o=exported: list(o.synthesize_pieces(mel)))
        else:
            raise ConfigError(f"unknown engine {engine!r}: there are reference, eager, numba, onnx")


def _exported(checkpoint: Checkpoint, threads: int):  # type: ignore[no-untyped-def]
    from flowvocoder.export.onnx import export_onnx
    from flowvocoder.export.runtime import OnnxVocoder

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(checkpoint, file, step=False)
        return OnnxVocoder(file, threads)


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


def _vocos(device: torch.device) -> System:
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    net = torch.nn.Sequential(VocosBackbone(N_MELS, 512, 1536, 8), ISTFTHead(512, 4 * HOP, HOP)).to(device).eval()
    return System("vocos", "eager", _count(net), net)


def _hifigan(device: torch.device) -> System:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(  # V1 of the paper, at a hop of 256
        model_in_dim=N_MELS, sampling_rate=RATE, upsample_initial_channel=512, upsample_rates=[8, 8, 2, 2],
        upsample_kernel_sizes=[16, 16, 4, 4], normalize_before=False,
    )  # fmt: skip
    net = SpeechT5HifiGan(config).to(device).eval()
    return System("hifigan-v1", "eager", _count(net), lambda mel: net(mel.transpose(1, 2)))


def _griffin_lim(device: torch.device) -> System:
    import torchaudio

    inverse = torchaudio.transforms.InverseMelScale(513, N_MELS, RATE, norm="slaney", mel_scale="slaney").to(device)
    phases = torchaudio.transforms.GriffinLim(4 * HOP, 32, hop_length=HOP, power=1.0).to(device)
    return System("griffin-lim-32", "eager", 0, lambda mel: phases(inverse(mel.exp())))


PEERS = {"vocos": _vocos, "hifigan": _hifigan, "griffin-lim": _griffin_lim}


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
