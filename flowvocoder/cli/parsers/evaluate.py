"""evaluate."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command, folder, machine, positive_int, sampling
from flowvocoder.cli.parsers.data import jobs


def add(commands: Commands) -> None:
    evaluate = add_command(
        commands, "evaluate", "measure a vocoder on held-out recordings, beside others", "evaluate", "evaluate"
    )
    evaluate.add_argument(
        "checkpoint", metavar="CHECKPOINT", nargs="?", type=Path, help="default: `bundled`, the bundled voice"
    )
    evaluate.add_argument("--corpus", metavar="DATA", type=Path, action="append", required=True,
                          help="folder of audio, manifest or folder of shards; may be given several times")  # fmt: skip
    evaluate.add_argument("--against", metavar="WHAT", action="append", default=[],
                          help="compare with: griffinlim (on the same mels), another checkpoint's folder (bundled: the"
                          " bundled voice), or a folder of audio files named like the utterances; may be given several"
                          " times")  # fmt: skip
    evaluate.add_argument("--out", metavar="DIR", type=folder,
                          help="write results.json, table.md, chart.png and a file per utterance; a second run takes"
                          " what is there and still true")  # fmt: skip
    evaluate.add_argument("--keep-audio", action="store_true",
                          help="also write what was measured (the first draw), to DIR/audio")  # fmt: skip
    evaluate.add_argument("--all", action="store_true", dest="everything",
                          help="all utterances of folders, and of shards or manifests those of the splits train and"
                          " validation, not only those training holds out")  # fmt: skip
    evaluate.add_argument("--limit", metavar="N", type=positive_int, help="at most N utterances of each corpus")
    evaluate.add_argument("--draws", metavar="N", type=positive_int, default=1,
                          help="draw each utterance N times, with seeds from --seed on, and take the mean; what a"
                          " single draw says of F0 is much a matter of chance")  # fmt: skip
    evaluate.add_argument("--lag", metavar="SAMPLES", type=int,
                          help="by which folders of audio are late (default: found, one for each folder)")  # fmt: skip
    jobs(evaluate)
    sampling(evaluate)
    machine(evaluate)
