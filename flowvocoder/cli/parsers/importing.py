"""import-checkpoint."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command


def add(commands: Commands) -> None:
    command = add_command(
        commands, "import-checkpoint", "a published WaveGlow, SqueezeWave or WaveFlow to a checkpoint folder",
        "importing", "import_file",
    )  # fmt: skip
    command.add_argument("input", metavar="FILE", type=Path, help="what torch.save wrote; nothing in it is run")
    command.add_argument("output", metavar="OUT", type=Path, help="checkpoint folder to make")
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                         help="what the file does not say: model.bipartite=false, mel.sample_rate=24000")  # fmt: skip
    command.add_argument("--licence", default="unknown", help="licence of the weights, recorded in the checkpoint")
    command.add_argument("--force", action="store_true", help="replace OUT if it is there")
