"""`voices`: the voices that come with the package, and those that were added."""

import argparse
import json
from pathlib import Path
from typing import Any

from flowvocoder.cli.command import Command
from flowvocoder.voice_card import BUNDLED_VOICE, VoiceCard, voices


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what is known about every voice, the default first."""
    rows = [described(name, folder) for name, folder in voices().items()]
    print(json.dumps(rows, indent=2) if arguments.json else "\n".join(map(_lines, rows)))
    return 0


def described(name: str, folder: Path) -> dict[str, Any]:
    """What a person chooses a voice by, as JSON values; None where the voice does not say."""
    from flowvocoder.checkpoint import WEIGHTS, read_config
    from flowvocoder.mel.spec import MelSpec

    config = read_config(folder)
    spec, card = MelSpec.from_dict(config["mel"]), VoiceCard.from_dict(config["card"])
    return {
        "name": name,
        "default": folder == BUNDLED_VOICE,
        "licence": card.licence,
        "languages": list(card.languages),
        "speakers": card.speakers,
        "sample_rate": spec.sample_rate,
        "mel": spec.name(),
        "bytes": (folder / WEIGHTS).stat().st_size,
        "training_data": list(card.training_data),
    }


def _lines(row: dict[str, Any]) -> str:
    default = " (default)" if row["default"] else ""
    languages = ", ".join(row["languages"]) or "unknown"
    speakers = "unknown" if row["speakers"] is None else row["speakers"]
    values = {
        "licence": row["licence"],
        "trained on": f"{', '.join(row['training_data']) or 'unknown'}; languages: {languages}; speakers: {speakers}",
        "mel": f"{row['mel']}, {row['sample_rate']} Hz",
        "size": f"{row['bytes'] / 1e6:.1f} MB",
    }
    return "\n".join([f"{row['name']}{default}", *(f"  {key:<10}  {value}" for key, value in values.items())])


COMMAND = Command("voices", "the voices of the package, and those that `voices add` keeps", options, run)
