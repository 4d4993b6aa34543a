"""`prepare`: recordings to shards."""

import argparse
import sys
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import named_manifest, set_machine
from flowvocoder.cli.options import add_jobs, positive_int
from flowvocoder.errors import ConfigError

DEFAULT_RATE = 22050


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST.jsonl", type=Path,
                        help="manifest of the corpus, or a folder with its manifest.jsonl")  # fmt: skip
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of shards; an interrupted run continues there")
    parser.add_argument("--rate", type=positive_int, help="sample rate in Hz (default: that of --mel, else 22050)")
    parser.add_argument("--mel", metavar="CONVENTION",
                        help="also store mels: tacotron2, hifigan, vocos, ...; segments then start at whole"
                        " frames")  # fmt: skip
    parser.add_argument("--trim", action="store_true", help="cut silence at both ends")
    parser.add_argument("--level", metavar="POLICY", default="keep",
                        help="keep (default), speech=DB or peak=DB, in dBFS")  # fmt: skip
    parser.add_argument("--shard-size", metavar="N", type=int, default=256, help="utterances a shard (default 256)")
    parser.add_argument("--device", default="cpu",
                        help="cuda resamples on the GPU with torchaudio (default cpu: soxr)")  # fmt: skip
    parser.add_argument("--engine", choices=("local", "ray"), default="local",
                        help="processes on this machine (local, default), or Ray")  # fmt: skip
    parser.add_argument("--address", help="address of a Ray cluster (default: one on this machine)")
    parser.set_defaults(threads=1)
    add_jobs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert a manifest's recordings into shards, or continue an interrupted run."""
    from flowvocoder.mel.spec import convention
    from flowvocoder.parallel import check_jobs
    from flowvocoder.prepare.convert import Settings
    from flowvocoder.prepare.plan import make_plan
    from flowvocoder.prepare.run import SKIPPED, prepare

    jobs = check_jobs(arguments.jobs)
    if arguments.address is not None and arguments.engine != "ray":
        raise ConfigError("--address is for --engine ray")
    rate = arguments.rate or (convention(arguments.mel).sample_rate if arguments.mel else DEFAULT_RATE)
    on_gpu = arguments.device != "cpu"
    if on_gpu:
        set_machine(arguments)
    settings = Settings(rate, arguments.trim, arguments.level, arguments.mel, "torchaudio" if on_gpu else "soxr")
    plan = make_plan(named_manifest(arguments.manifest), settings, arguments.shard_size)
    if plan.upsampled:
        print(f"{plan.upsampled} utterances have less than {rate} Hz: their upper band will be empty, which harms"
              " training; a lower --rate avoids it", file=sys.stderr)  # fmt: skip
    address = (arguments.address or "local") if arguments.engine == "ray" else None
    summary = prepare(plan, arguments.out, jobs, arguments.device, address)
    if summary.found:
        print(f"{summary.found} of {summary.shards} shards were there already", file=sys.stderr)
    if summary.skipped:
        print(f"{summary.skipped} utterances skipped: {arguments.out / SKIPPED} says why", file=sys.stderr)
    minutes = summary.samples / rate / 60.0
    print(f"{arguments.out}: {summary.utterances} utterances, {minutes:.1f} min, {summary.shards} shards")
    if summary.source_seconds:
        times = summary.source_seconds / summary.wall_seconds
        print(f"{summary.source_seconds / 60.0:.1f} min of audio in {summary.wall_seconds:.1f} s:"
              f" {times:.0f} x real time, {summary.per_core:.0f} x per core")  # fmt: skip
    return 0


COMMAND = Command("prepare", "convert a manifest's recordings to shards for training", options, run)
