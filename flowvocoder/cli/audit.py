"""`audit`."""

import argparse
import json
from pathlib import Path

from flowvocoder.audit.audit import Audit
from flowvocoder.audit.measure import Limits
from flowvocoder.audit.report import as_json, picture, table
from flowvocoder.errors import ConfigError, OutputError
from flowvocoder.mel.spec import convention
from flowvocoder.parallel import check_jobs

HURTS = 1


def audit(arguments: argparse.Namespace) -> int:
    """Print what is wrong with a corpus; 1 if something would hurt training."""
    if arguments.segment < 1:
        raise ConfigError(f"--segment must be 1 sample or more, not {arguments.segment}")
    for path, suffix in ((arguments.picture, ".png"), (arguments.fix, ".jsonl")):
        _check(path, suffix, arguments.manifest)
    limits, spec = Limits(segment=arguments.segment), convention(arguments.convention)
    found = Audit(arguments.manifest, limits, spec, check_jobs(arguments.jobs), arguments.rate)
    if arguments.json:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(table(found)))
    if arguments.picture:
        picture(found, arguments.picture)
    if arguments.fix:
        left = found.fix(arguments.fix)
        if not arguments.json:
            print(f"{arguments.fix}: {left} utterances")
    return HURTS if found.hurts else 0


def _check(path: Path | None, suffix: str, manifest: Path) -> None:
    """Fail before the work, not after it."""
    if path is None:
        return
    if path.suffix.lower() != suffix or path.is_dir():
        raise OutputError(f"{path}: the output's name must end in {suffix}")
    if path.resolve() == manifest.resolve():
        raise OutputError(f"{path}: is the manifest itself: name another file")
