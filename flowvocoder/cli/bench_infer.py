"""`bench infer`: synthesis, by model and engine, and beside others."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from flowvocoder.checkpoint import BUNDLED_VOICE, Checkpoint, build_model, load_checkpoint
from flowvocoder.cli.common import check_match, set_machine
from flowvocoder.config import override
from flowvocoder.errors import ConfigError
from flowvocoder.evaluation.speed.inference import measure, measure_streaming
from flowvocoder.evaluation.speed.inference_report import markdown, write_report
from flowvocoder.evaluation.speed.systems import System, ours, peer
from flowvocoder.presets import preset

T = TypeVar("T")


def infer(arguments: argparse.Namespace) -> int:
    """Print a table, and write it to --out. Presets and peers have random weights: they cost what trained ones do."""
    device = set_machine(arguments)
    lengths = _numbers("--seconds", arguments.seconds, float, 0.1, 3600)
    batches = _numbers("--batch", arguments.batch, int, 1, 1024)
    if arguments.rounds < 1 or arguments.chunk < 0:
        raise ConfigError("--rounds must be 1 or more and --chunk 0 or more")
    systems = _systems(arguments, device)
    results = measure(systems, lengths, batches, arguments.rounds, device)
    measured = [measure_streaming(s, arguments.chunk, 10.0, device) for s in systems] if arguments.chunk else []
    streams = [s for s in measured if s is not None]
    command = f"flowvocoder {shlex.join(sys.argv[1:])}"
    print(markdown(command, results, streams), end="")
    if arguments.out:
        write_report(arguments.out, command, results, streams)
        print(f"{arguments.out}: bench.json, bench.md, bench.png", file=sys.stderr)
    return 0


def _systems(arguments: argparse.Namespace, device: torch.device) -> list[System]:
    voices: list[tuple[str, Checkpoint]] = []
    for path in arguments.checkpoint or ([] if arguments.preset else [BUNDLED_VOICE]):
        voices.append((path.name, load_checkpoint(path, device)))
    for name in arguments.preset:
        experiment = override(preset(name), arguments.settings)
        torch.manual_seed(0)
        name = " ".join([name, *arguments.settings])
        about = {"match": experiment.train.match, "low_match": experiment.train.low_match}
        voices.append((name, Checkpoint(build_model(experiment).eval().to(device), experiment, about)))
    check_match(arguments.match, arguments.low_match)
    given = {"match": arguments.match, "low_match": arguments.low_match}
    passes = {name: number for name, number in given.items() if number is not None}
    voices = [(n, dataclasses.replace(v, about={**v.about, **passes})) for n, v in voices]
    engines, precisions, peers = map(_names, (arguments.engines, arguments.precision, arguments.peers))
    systems = [s for name, voice in voices for s in ours(name, voice, engines, precisions, torch.get_num_threads())]
    return systems + [peer(name, device) for name in peers]


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
