"""`bench infer`: synthesis, by model and engine, and beside others."""

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import iterations, set_machine
from flowvocoder.cli.options import add_device, add_iterations, add_latency, add_settings, folder
from flowvocoder.config import override
from flowvocoder.errors import ConfigError
from flowvocoder.presets import preset
from flowvocoder.voice_card import checkpoint_folder

if TYPE_CHECKING:
    import torch

    from flowvocoder.evaluation.vocoders import System

T = TypeVar("T")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="DIR", type=checkpoint_folder, action="append", default=[],
                        help="folder or one of `voices` (default: the bundled one); may be repeated")  # fmt: skip
    parser.add_argument("--preset", action="append", default=[],
                        help="a preset with random weights; may be repeated")  # fmt: skip
    add_settings(parser, "override a setting of the presets: model.block=256")
    parser.add_argument("--engines", default="eager,numba",
                        help="reference, eager, numba, compile, onnx (default eager,numba)")  # fmt: skip
    parser.add_argument("--precision", default="float32",
                        help="of the networks: float32, bfloat16, float16 (default float32)")  # fmt: skip
    parser.add_argument("--peers", default="",
                        help="vocos, vocos-onnx, hifigan, griffin-lim: pip install 'flowvocoder[bench]'")  # fmt: skip
    parser.add_argument("--seconds", default="10", help="lengths in seconds (default 10)")
    parser.add_argument("--batch", default="1", help="batch sizes (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of every measurement (default 5)")
    parser.add_argument("--chunk", type=int, default=8, metavar="FRAMES",
                        help="frames a chunk when streaming (default 8; 0: no streaming)")  # fmt: skip
    parser.add_argument(
        "--out", metavar="DIR", type=folder, help="also write results.json, table.md and chart.png there"
    )
    add_iterations(parser)
    add_latency(parser)
    add_device(parser)
    parser.add_argument("--threads", default="1",
                        help="CPU threads (default 1); 1,2 measures both, in turns")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Print a table, and write it to --out. Presets and peers have random weights: they cost what trained ones do."""
    from flowvocoder.evaluation.report import machine, write_report
    from flowvocoder.evaluation.speed.inference import measure, measure_streaming
    from flowvocoder.evaluation.speed.tables import synthesis_chart, synthesis_markdown, synthesis_values
    from flowvocoder.threads import set_threads

    threads = _numbers("--threads", arguments.threads, int, 1, 1024)
    device = set_machine(argparse.Namespace(threads=threads[0], device=arguments.device))
    lengths = _numbers("--seconds", arguments.seconds, float, 0.1, 3600)
    batches = _numbers("--batch", arguments.batch, int, 1, 1024)
    if arguments.rounds < 1 or arguments.chunk < 0:
        raise ConfigError("--rounds must be 1 or more and --chunk 0 or more")
    systems = [system for number in threads for system in _systems(arguments, device, number)]
    results = measure(systems, lengths, batches, arguments.rounds, device)
    set_threads(threads[0])
    one = [s for s in systems if s.threads == threads[0]] if arguments.chunk else []
    measured = [measure_streaming(system, arguments.chunk, 10.0, device) for system in one]
    streams = [s for s in measured if s is not None]
    command = f"flowvocoder {shlex.join(sys.argv[1:])}"
    measured_on = machine(str(device))
    table = synthesis_markdown(command, measured_on, results, streams)
    print(table, end="")
    if arguments.out:
        values = synthesis_values(command, measured_on, results, streams)
        print(write_report(arguments.out, values, table, synthesis_chart(results)), file=sys.stderr)
    return 0


def _systems(arguments: argparse.Namespace, device: "torch.device", threads: int) -> "list[System]":
    import dataclasses

    import torch

    from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter, load_checkpoint
    from flowvocoder.evaluation.vocoders import ours, peer
    from flowvocoder.postfilter.settings import PostfilterSettings
    from flowvocoder.voice_card import BUNDLED_VOICE, VoiceCard

    voices: list[tuple[str, Checkpoint]] = []
    for path in arguments.checkpoint or ([] if arguments.preset else [BUNDLED_VOICE]):
        voices.append((path.name, load_checkpoint(path, device)))
    for name in arguments.preset:
        experiment = override(preset(name), arguments.settings)
        torch.manual_seed(0)
        name = " ".join([name, *arguments.settings])
        sampling = experiment.train.sampling
        card = VoiceCard(postfilter=PostfilterSettings(sampling.gl_iters, sampling.low_band_iters))
        model, postfilter = build_model(experiment).eval().to(device), build_postfilter(experiment)
        voices.append((name, Checkpoint(model, experiment, card, postfilter)))
    given = {name: number for name, number in iterations(arguments).items() if number is not None}
    latency = given.pop("latency_ms", None)
    for index, (name, voice) in enumerate(voices):
        settings = dataclasses.replace(voice.card.postfilter, **given)
        card = dataclasses.replace(voice.card, postfilter=settings)
        voices[index] = name, dataclasses.replace(voice, card=card)
    engines, precisions, peers = map(_names, (arguments.engines, arguments.precision, arguments.peers))
    if latency is not None and (others := sorted({"reference", "onnx"} & set(engines))):
        raise ConfigError(f"--latency: not with the engine {others[0]}")
    systems = [s for name, voice in voices for s in ours(name, voice, engines, precisions, threads, latency)]
    systems += [peer(name, device) for name in peers]
    return [dataclasses.replace(system, threads=threads) for system in systems]


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(option: str, text: str, kind: Callable[[str], T], low: float, high: float) -> list[T]:
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{option} {text}: expected numbers with commas between them") from error
    if not all(low <= value <= high for value in values):  # type: ignore[operator]
        raise ConfigError(f"{option} {text}: must be from {low:g} to {high:g}")
    return values


COMMAND = Command("bench infer", "synthesis speed by model, engine, length and batch, beside others", options, run)
