"""train."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command, folder, machine, positive, positive_int
from flowvocoder.presets import DEFAULT_PRESET, PRESETS


def add(commands: Commands) -> None:
    train = add_command(commands, "train", "train a vocoder on your recordings", "train", "train")
    train.add_argument("--corpus", metavar="DATA", type=Path, action="append", required=True,
                       help="folder of audio or in LJSpeech layout, manifest (.jsonl), or what `prepare` wrote;"
                       " may be given several times")  # fmt: skip
    train.add_argument("--preset", help=f"{', '.join(PRESETS)} (default {DEFAULT_PRESET}, or with --resume what the run"
                       " has)")  # fmt: skip
    train.add_argument("--out", metavar="RUN", type=folder, required=True, help="run folder")
    train.add_argument("--resume", action="store_true", help="go on with the run in RUN, as it was set")
    train.add_argument(
        "--init-from",
        metavar="CHECKPOINT",
        type=Path,
        help="start from these weights (`bundled`: the bundled voice), with their sizes, mel, temperature and passes of"
        " mel matching; a run that --resume goes on with has its own",
    )
    train.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                       help="override a setting: lr=5e-4, steps=1000, model.channels=96, mel=hifigan")  # fmt: skip
    train.add_argument(
        "--max-steps",
        metavar="N",
        type=positive_int,
        help="stop after step N, saved; --resume goes on; with --find-lr, its number of steps",
    )
    train.add_argument("--max-minutes", metavar="M", type=positive, help="stop after M minutes, saved")
    train.add_argument("--find-lr", action="store_true",
                       help="only a range test: prints a good learning rate, draws RUN/learning_rate.png")  # fmt: skip
    train.add_argument("--licence", help="licence of the data, recorded in the checkpoint")
    machine(train)
