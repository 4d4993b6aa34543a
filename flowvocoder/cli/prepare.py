"""`prepare`."""

import argparse
import sys

from flowvocoder.errors import ConfigError
from flowvocoder.mel.spec import convention
from flowvocoder.parallel import check_jobs
from flowvocoder.prepare.convert import Settings
from flowvocoder.prepare.plan import make_plan
from flowvocoder.prepare.run import SKIPPED
from flowvocoder.prepare.run import prepare as run

DEFAULT_RATE = 22050


def prepare(arguments: argparse.Namespace) -> int:
    """Convert a manifest's recordings into shards, or go on with it."""
    jobs = check_jobs(arguments.jobs)
    if arguments.address is not None and arguments.engine != "ray":
        raise ConfigError("--address is for --engine ray")
    rate = arguments.rate or (convention(arguments.mel).sample_rate if arguments.mel else DEFAULT_RATE)
    on_gpu = arguments.device != "cpu"
    if on_gpu:
        from flowvocoder.cli.common import set_machine

        set_machine(arguments)
    settings = Settings(rate, arguments.trim, arguments.level, arguments.mel, "torchaudio" if on_gpu else "soxr")
    plan = make_plan(arguments.manifest, settings, arguments.shard_size)
    if plan.upsampled:
        print(f"{plan.upsampled} utterances have less than {rate} Hz: the band above theirs will be empty, which"
              " hurts training (a lower --rate does not)", file=sys.stderr)  # fmt: skip
    address = (arguments.address or "local") if arguments.engine == "ray" else None
    summary = run(plan, arguments.out, jobs, arguments.device, address)
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
