"""`pack`: of one or several corpora as much as fits a size, as shards."""

import argparse
import sys
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.options import add_jobs, folder, positive_int, seed, size

RATES = {"flac": 22_050, "vorbis": 22_050, "opus": 24_000}
"""Hz, where nothing else is asked for."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpora", metavar="DATA", type=Path, nargs="+",
                        help="folders of audio or manifests (.jsonl), as `train --corpus` takes them")  # fmt: skip
    parser.add_argument("--out", metavar="OUT", type=folder, required=True,
                        help="folder of shards; an interrupted run continues there")  # fmt: skip
    parser.add_argument("--size", type=size, required=True, help="bytes that OUT may have: 40MB, 60MiB")
    parser.add_argument("--codec", default="flac", choices=tuple(RATES),
                        help="flac (default, without loss), vorbis or opus (84 kbit/s)")  # fmt: skip
    parser.add_argument("--rate", type=positive_int, help="sample rate in Hz (default 22050; opus: 24000)")
    parser.add_argument("--shortest", metavar="SECONDS", type=float, default=0.75,
                        help="leave out shorter utterances (default 0.75: a segment of the presets)")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, help="another seed chooses other utterances (default 0)")
    parser.add_argument("--shard-size", metavar="N", type=int, default=256, help="utterances a shard (default 256)")
    parser.set_defaults(threads=1)
    add_jobs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Choose, convert, and say how much of whom it is."""
    from flowvocoder.data.splits import TRAIN
    from flowvocoder.parallel import check_jobs
    from flowvocoder.prepare.convert import Settings
    from flowvocoder.prepare.pack import choose, copy_notices
    from flowvocoder.prepare.plan import make_plan
    from flowvocoder.prepare.run import prepare

    jobs, out = check_jobs(arguments.jobs), arguments.out
    settings = Settings(arguments.rate or RATES[arguments.codec], codec=arguments.codec)
    packed = choose(
        arguments.corpora, out, arguments.size, settings, arguments.shard_size, arguments.seed, arguments.shortest
    )
    for line in packed.unusable[:5]:
        print(f"left out: {line}", file=sys.stderr)
    if len(packed.unusable) > 5:
        print(f"left out: {len(packed.unusable)} in all", file=sys.stderr)
    plan = make_plan(packed.manifest, settings, arguments.shard_size)
    if plan.upsampled:
        print(f"{plan.upsampled} utterances have less than {settings.rate} Hz: their upper band will be empty",
              file=sys.stderr)  # fmt: skip
    summary = prepare(plan, out, jobs)
    copy_notices(packed, out)
    if unnamed := [name for name, files in packed.notices.items() if not files]:
        print(f"no LICENSE, NOTICE or README to take along: {', '.join(unnamed)}", file=sys.stderr)
    used = sum(file.stat().st_size for file in out.iterdir())
    minutes = {part: seconds / 60.0 for part, seconds in packed.seconds.items() if seconds}
    shares = sorted(packed.speakers.values())
    held_out = "".join(f", {length:.1f} min {part}" for part, length in minutes.items() if part != TRAIN)
    print(f"{out}: {summary.utterances} utterances, {used / 1e6:.2f} of {arguments.size / 1e6:.2f} MB,"
          f" {len(shares)} speakers: {minutes[TRAIN]:.1f} min to train on{held_out}")  # fmt: skip
    print(f"kB a speaker: {shares[0] / 1e3:.0f} to {shares[-1] / 1e3:.0f}, median {shares[len(shares) // 2] / 1e3:.0f};"
          f" {packed.manifest} lists the utterances")  # fmt: skip
    return 0


COMMAND = Command("pack", "of corpora as much as fits a size, balanced by speaker, as shards", options, run)
