"""`audit`: what is wrong with a corpus."""

import argparse
import json
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import named_manifest
from flowvocoder.cli.options import add_jobs, positive, positive_int
from flowvocoder.errors import ConfigError, OutputError

HARMFUL = 1
"""Exit code where something would harm training."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST.jsonl", type=Path,
                        help="manifest of the corpus, or a folder with its manifest.jsonl")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON, with the utterances that each check found")
    parser.add_argument("--plot", metavar="PNG", type=Path, help="plot durations, levels and bandwidths")
    parser.add_argument("--fix", metavar="OUT.jsonl", type=Path, help="write the manifest without harmful utterances")
    parser.add_argument("--segment", type=int, default=16384, help="samples of a training segment (default 16384)")
    parser.add_argument("--rate", type=positive_int,
                        help="sample rate in Hz that training resamples to (default: the convention's)")  # fmt: skip
    parser.add_argument("--convention", default="tacotron2",
                        help="mel convention to train, and of mels without a spec beside them (default"
                        " tacotron2)")  # fmt: skip
    parser.add_argument("--deep", metavar="REPORT.jsonl", type=Path,
                        help="an anomaly detector hears every utterance too; scores and spans go to this file, from"
                        " which an interrupted audit goes on")  # fmt: skip
    parser.add_argument("--detector", metavar="DIR", type=Path,
                        help="folder that `anomaly fit` wrote, for --deep (default: the package's own)")  # fmt: skip
    parser.add_argument("--false-alarms", metavar="SHARE", type=positive, default=0.01,
                        help="share of clean utterances that --deep may call anomalous (default 0.01)")  # fmt: skip
    add_jobs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong with a corpus; 1 if something would harm training."""
    from flowvocoder.audit.audit import Audit
    from flowvocoder.audit.deep import Deep
    from flowvocoder.audit.measure import Limits
    from flowvocoder.audit.report import as_json, save_plot, table
    from flowvocoder.mel.spec import convention
    from flowvocoder.parallel import check_jobs

    if arguments.segment < 1:
        raise ConfigError(f"--segment must be 1 sample or more, not {arguments.segment}")
    manifest = named_manifest(arguments.manifest)
    for path, suffix in ((arguments.plot, ".png"), (arguments.fix, ".jsonl"), (arguments.deep, ".jsonl")):
        _check(path, suffix, manifest)
    spec = convention(arguments.convention)
    limits = Limits(arguments.rate or spec.sample_rate, arguments.segment)
    deep = Deep(arguments.detector, arguments.false_alarms) if arguments.deep else None
    found = Audit(manifest, limits, spec, check_jobs(arguments.jobs), deep, arguments.deep)
    if arguments.json:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(table(found)))
    if arguments.plot:
        save_plot(found, arguments.plot)
    if arguments.fix:
        left = found.fix(arguments.fix)
        if not arguments.json:
            print(f"{arguments.fix}: {left} utterances")
    return HARMFUL if found.harmful else 0


def _check(path: Path | None, suffix: str, manifest: Path) -> None:
    """Fail before the work, not after it."""
    if path is None:
        return
    if path.suffix.lower() != suffix or path.is_dir():
        raise OutputError(f"{path}: the output's name must end in {suffix}")
    if path.resolve() == manifest.resolve():
        raise OutputError(f"{path}: is the manifest itself: name another file")


COMMAND = Command("audit", "find what in a corpus would harm training", options, run)
