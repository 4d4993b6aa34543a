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

    prepare = add_command(commands, "prepare", "recordings to training-ready shards", "prepare", "prepare")
    prepare.add_argument("manifest", metavar="MANIFEST.jsonl", type=Path)
    prepare.add_argument("out", metavar="OUT", type=Path, help="folder; one that was begun is gone on with")
    prepare.add_argument("--rate", type=int, help="Hz (default: that of --mel, else 22050)")
    prepare.add_argument("--mel", metavar="CONVENTION",
                         help="also store mels: tacotron2, hifigan, vocos, ... (training then has these frames of a"
                              " recording, else those from any sample on)")  # fmt: skip
    prepare.add_argument("--trim", action="store_true", help="cut silence at both ends")
    prepare.add_argument("--level", metavar="POLICY", default="keep", help="keep (default), speech=DB or peak=DB, dBFS")
    prepare.add_argument("--shard-size", metavar="N", type=int, default=256, help="utterances a shard (default 256)")
    prepare.add_argument("--device", default="cpu", help="cuda resamples with torchaudio there (default cpu: soxr)")
    prepare.add_argument("--engine", choices=("local", "ray"), default="local", help="processes here, or Ray")
    prepare.add_argument("--address", help="of a Ray cluster (default: one on this machine)")
    prepare.set_defaults(threads=None)
    jobs(prepare)


def jobs(command: argparse.ArgumentParser) -> None:
    """--jobs."""
    command.add_argument("--jobs", type=int, default=0, metavar="N", help="processes (default: one for each core)")
