"""`import-checkpoint`."""

import argparse
import sys

from flowvocoder.checkpoint import save_checkpoint
from flowvocoder.errors import OutputError
from flowvocoder.interop.published.importer import import_checkpoint


def import_file(arguments: argparse.Namespace) -> int:
    """FILE -> OUT, a checkpoint folder."""
    if arguments.output.exists() and not arguments.force:
        raise OutputError(f"{arguments.output}: is there already (--force replaces it)")
    checkpoint, layout = import_checkpoint(arguments.input, arguments.settings, arguments.licence)
    save_checkpoint(arguments.output, checkpoint)
    if layout.assumed:
        print(f"{arguments.input}: does not say all; assumed {layout.assumed}", file=sys.stderr)
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    mel = checkpoint.experiment.mel
    print(f"{arguments.output}: {layout.name}, {parameters / 1e6:.1f} M parameters, mel {mel.name()}"
          f" ({mel.n_mels} bands, hop {mel.hop_length}, {mel.sample_rate} Hz)")  # fmt: skip
    return 0
