"""audit, prepare."""

import argparse
from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command


def add(commands: Commands) -> None:
    audit = add_command(commands, "audit", "what in a corpus would hurt training", "audit", "audit")
    audit.add_argument("manifest", metavar="MANIFEST.jsonl", type=Path)
    audit.add_argument("--json", action="store_true", help="as JSON, with the utterances that each check found")
    audit.add_argument("--picture", metavar="PNG", type=Path, help="draw durations, levels and bandwidths")
    audit.add_argument("--fix", metavar="OUT.jsonl", type=Path, help="write the manifest without what hurts")
    audit.add_argument("--segment", type=int, default=16384, help="samples of a training segment (default 16384)")
    audit.add_argument("--rate", type=int, help="Hz the corpus should have (default: what most of it has)")
    audit.add_argument("--convention", default="tacotron2", help="of mels without a spec beside them (tacotron2)")
    jobs(audit)


def jobs(command: argparse.ArgumentParser) -> None:
    """--jobs."""
    command.add_argument("--jobs", type=int, default=0, metavar="N", help="processes (default: one for each core)")
