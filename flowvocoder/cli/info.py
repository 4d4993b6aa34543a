"""`info`: what a checkpoint is."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import check_output, load_vocoder, set_machine
from flowvocoder.cli.options import add_machine, draws
from flowvocoder.config import NETWORKS, PostfilterConfig
from flowvocoder.errors import ConfigError
from flowvocoder.voice_card import checkpoint_folder

if TYPE_CHECKING:
    from flowvocoder.checkpoint import Checkpoint
    from flowvocoder.streaming.flow import FlowStep


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", type=checkpoint_folder,
                        help="checkpoint folder or one of `voices` (default: the bundled one)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--mel", metavar="MEL", type=Path, help="instead: what this mel file leaves open, in dB by band"
    )
    parser.add_argument("--draws", type=draws, default=8, help="samples that --mel compares (default 8)")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="plot the mel, and what it leaves open over time")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print architecture, mel, origin and metrics. The weights are read too, so a damaged checkpoint is refused."""
    from flowvocoder.checkpoint import WEIGHTS, folder_of, load_checkpoint, modules, read_config
    from flowvocoder.mel.conversion import served
    from flowvocoder.streaming.engines import ModelSteps, fastest_engine
    from flowvocoder.voice_card import BUNDLED_VOICE

    if arguments.plot and arguments.mel is None:
        raise ConfigError("--plot draws what a mel leaves open: give --mel MEL too")
    if arguments.mel is not None:
        return _uncertainty(arguments)
    engine, why = fastest_engine(set_machine(arguments))
    path = arguments.checkpoint or BUNDLED_VOICE
    checkpoint = load_checkpoint(path)
    step = ModelSteps(checkpoint.model).find()
    voice = modules(checkpoint.model, checkpoint.postfilter)
    parameters = sum(p.numel() for p in voice.parameters())
    size = (folder_of(path) / WEIGHTS).stat().st_size
    behind = None if step is None else step.delay * step.block
    spec = checkpoint.experiment.mel
    if arguments.json:
        more = {"takes_exactly": served(spec), "takes_approximately": served(spec, exactly=False)}
        sizes = {"parameters": parameters, "bytes": size, "look_ahead_samples": behind, "engine_auto": engine}
        print(json.dumps({**read_config(path), **sizes, **more}, indent=2))
        return 0
    print(
        f"{path}: {checkpoint.experiment.model.architecture}, {parameters / 1e6:.1f} M parameters, {size / 1e6:.1f} MB"
    )
    networks = checkpoint.experiment.postfilter or PostfilterConfig(guide_channels=0)
    rows = {
        "mel": f"{spec.name()}: {spec.n_mels} bands {spec.fmin:g}-{spec.fmax:g} Hz, hop {spec.hop_length},"
        f" n_fft {spec.n_fft}, {spec.sample_rate} Hz, {spec.log}",
        "takes": f"{', '.join(served(spec)) or 'its own'} mels exactly",
        "takes also": f"{', '.join(served(spec, exactly=False)) or 'none'} mels approximately",
        "sizes": _sizes(vars(checkpoint.experiment.model)),
        **{name: _sizes(own) for name in NETWORKS if (own := networks.of(name))},
        "streams": _streaming(step, checkpoint),
        "engine": f"auto is {engine} here: {why}",
        **{key: _plain(value) for key, value in checkpoint.card.to_dict().items()},
    }
    width = max(map(len, rows))
    print("\n".join(f"  {key:<{width}}  {value}" for key, value in rows.items()))
    return 0


def _uncertainty(arguments: argparse.Namespace) -> int:
    import torch

    from flowvocoder.mel.files import read_mel
    from flowvocoder.mel.frontend import band_centres
    from flowvocoder.mel.spread import NOISE_DB, by_range, save_spread

    if arguments.plot:
        check_output(arguments.plot, (".png",))
    vocoder = load_vocoder(arguments)
    mel = torch.from_numpy(read_mel(arguments.mel, vocoder.spec))
    found = vocoder.uncertainty(mel, arguments.draws)[0]
    numbers = by_range(found, mel, band_centres(vocoder.spec))
    if arguments.plot:
        save_spread(arguments.plot, found, mel, mel.shape[1] * vocoder.spec.hop_length / vocoder.sample_rate)
    if arguments.json:
        print(json.dumps({"file": str(arguments.mel), "draws": arguments.draws, "spread_db": numbers}, indent=2))
        return 0
    print(f"{arguments.mel}: levels of {arguments.draws} samples differ by so many dB (0: certain, {NOISE_DB}: noise)")
    print("\n".join(f"  {name:<14}{value:5.1f}" for name, value in numbers.items()))
    return 0


def _streaming(step: "FlowStep | None", checkpoint: "Checkpoint") -> str:
    from flowvocoder.postfilter.chain import PostFilter
    from flowvocoder.postfilter.latency import of_stream

    if step is None:
        return "no: takes whole mels only"
    spec = checkpoint.experiment.mel
    ahead, back = (1000 * blocks * step.block / spec.sample_rate for blocks in (step.delay, step.back))
    reach = f"up to {back:.0f} ms" if math.isfinite(back) else "without end (pitch recursion)"
    iterations = of_stream(checkpoint.card.postfilter)
    usual = 1000 * PostFilter(spec).delay(iterations, step.delay * step.block) / spec.sample_rate
    more = f" at least, {usual:.0f} ms by default" if iterations.rounds else ""
    return f"{ahead:.0f} ms behind the mel{more}; a frame influences what follows it {reach}"


def _sizes(sizes: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in sizes.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


COMMAND = Command("info", "what a checkpoint is: architecture, mel, licence, metrics", options, run)
