"""What is measured: our models by engine, and other vocoders with random weights, which cost what trained ones do."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from flowvocoder.checkpoint import Checkpoint
from flowvocoder.errors import ConfigError
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.vocoder import Vocoder

N_MELS, HOP, RATE = 80, 256, 22050
"""What the other systems are set to: the same frames for everyone."""


@dataclasses.dataclass
class System:
    """Something that makes audio of mels.

    Attributes:
        run: mel (B, n_mels, F) -> audio.
        vocoder: ours, for streaming; None for others and for engines that are not measured in streaming.
        spec: of the mels it is given.
    """

    name: str
    engine: str
    parameters: int
    run: Callable[[Tensor], object]
    spec: MelSpec = dataclasses.field(default_factory=lambda: convention("tacotron2"))
    vocoder: Vocoder | None = None

    @property
    def seconds_per_frame(self) -> float:
        return self.spec.hop_length / self.spec.sample_rate


def ours(
    name: str, checkpoint: Checkpoint, engines: list[str], precisions: list[str], threads: int
) -> Iterator[System]:
    """One model in every engine that was asked for, and in every precision where the engine has a choice.

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
            vocoder = Vocoder(model, checkpoint.about, engine, precision)  # type: ignore[arg-type]
            vocoder.prepare()  # before anything is counted or timed
            label = engine if precision == "float32" else f"{engine} {precision}"
            yield System(name, label, parameters, functools.partial(vocoder.synthesize, seed=0), spec, vocoder)


def _reference(model: FlowVocoder, mel: Tensor) -> Tensor:
    return model.sample(torch.randn(model.noise_shape(mel), device=mel.device), mel)


def _exported(checkpoint: Checkpoint, threads: int) -> Callable[[Tensor], object]:
    from flowvocoder.interop.onnx.export import export_onnx
    from flowvocoder.interop.onnx.runtime import OnnxVocoder

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(checkpoint, file, step=False)
        onnx = OnnxVocoder(file, threads)
    return lambda mel: list(onnx.synthesize_pieces(mel.cpu()))


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
    net: torch.nn.Module = SpeechT5HifiGan(config)
    net = net.to(device).eval()
    return System("hifigan-v1", "eager", _count(net), lambda mel: net(mel.transpose(1, 2)))


def _griffin_lim(device: torch.device) -> System:
    import torchaudio

    inverse = torchaudio.transforms.InverseMelScale(513, N_MELS, RATE, norm="slaney", mel_scale="slaney").to(device)
    phases = torchaudio.transforms.GriffinLim(4 * HOP, 32, hop_length=HOP, power=1.0).to(device)
    return System("griffin-lim-32", "eager", 0, lambda mel: phases(inverse(mel.exp())))


PEERS = {"vocos": _vocos, "hifigan": _hifigan, "griffin-lim": _griffin_lim}


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
