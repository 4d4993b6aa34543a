"""`adapt`: a voice made of your recordings."""

import argparse
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import set_machine
from flowvocoder.cli.options import add_machine, folder, positive
from flowvocoder.voice_card import BUNDLED, checkpoint_folder


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", metavar="RECORDINGS", type=Path, nargs="+",
                        help="folders of audio or in LJSpeech layout, or manifests, of one voice")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=folder, required=True,
                        help="folder of the new voice; the same command continues there")  # fmt: skip
    parser.add_argument("--minutes", metavar="M", type=positive, default=5.0, help="of training (default 5)")
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", type=checkpoint_folder,
                        default=checkpoint_folder(BUNDLED),
                        help="voice to start from (default: `bundled`)")  # fmt: skip
    parser.add_argument("--stages", default="flow,samples",
                        help="some of flow, samples, guide, refiner, with commas between"
                        " (default flow,samples)")  # fmt: skip
    parser.add_argument("--licence", help="licence of the weights, recorded in the checkpoint")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Adapt a voice and say what it became."""
    from flowvocoder.adapt.plan import check_stages
    from flowvocoder.adapt.run import VOICE, Adaptation

    stages = check_stages(arguments.stages.split(","))
    device = str(set_machine(arguments))
    made = Adaptation(
        arguments.recordings, arguments.out, arguments.checkpoint, arguments.minutes, stages, arguments.licence, device
    ).run()
    print(f"{made.seconds:.0f} s of speech; held-out sentences: {made.before:.3f} nats a sample before, "
          f"{made.after:.3f} after")  # fmt: skip
    if "flow" in stages and not made.after > made.before:
        print("the flow did not become better: it stays as it was")
    print(f"listen to recording.wav, before.wav and after.wav in {arguments.out}; comparison.png shows them")
    print(f"to use it: flowvocoder resynth RECORDING OUT.wav --checkpoint {arguments.out / VOICE}")
    return 0


COMMAND = Command("adapt", "make a voice of your recordings, in minutes", options, run)
