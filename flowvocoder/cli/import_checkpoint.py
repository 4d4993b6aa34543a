"""`import-checkpoint`: a published model as a checkpoint folder."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command, say
from flowvocoder.cli.options import add_settings
from flowvocoder.errors import OutputError


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="FILE", type=Path, help="file that torch.save wrote; no code in it is run")
    parser.add_argument("output", metavar="OUT", type=Path, help="checkpoint folder to make")
    add_settings(parser, "what the file does not say: model.bipartite=false, mel.sample_rate=24000")
    parser.add_argument("--licence", default="unknown", help="licence of the weights, recorded in the checkpoint")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def run(arguments: argparse.Namespace) -> int:
    """FILE -> OUT, a checkpoint folder."""
    from flowvocoder.checkpoint import save_checkpoint
    from flowvocoder.interop.published.importer import import_checkpoint

    if arguments.output.exists() and not arguments.force:
        raise OutputError(f"{arguments.output}: is there already (--force replaces it)")
    checkpoint, layout = import_checkpoint(arguments.input, arguments.settings, arguments.licence)
    save_checkpoint(arguments.output, checkpoint)
    if layout.assumed:
        say(f"{arguments.input}: does not say all; assumed {layout.assumed}")
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    mel = checkpoint.experiment.mel
    print(f"{arguments.output}: {layout.name}, {parameters / 1e6:.1f} M parameters, mel {mel.name()}"
          f" ({mel.n_mels} bands, hop {mel.hop_length}, {mel.sample_rate} Hz)")  # fmt: skip
    return 0


COMMAND = Command(
    "import-checkpoint", "convert a published WaveGlow, SqueezeWave or WaveFlow to a checkpoint folder", options, run
)
