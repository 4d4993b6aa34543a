"""`evaluate`: a table, and with --out everything it was made from."""

import argparse
import sys
from pathlib import Path

from flowvocoder.cli.command import FAILED, Command, say
from flowvocoder.cli.common import check_temperature, iterations, set_machine
from flowvocoder.cli.options import add_cluster, add_jobs, add_machine, add_sampling, folder, positive_int
from flowvocoder.errors import ConfigError
from flowvocoder.voice_card import checkpoint_folder

GROUPS = "pyin", "dnsmos"
"""Groups of slow measures, each with an option of its name."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", type=checkpoint_folder,
                        help="checkpoint folder or one of `voices` (default: the bundled one)")  # fmt: skip
    parser.add_argument("--corpus", metavar="DATA", type=Path, action="append", required=True,
                        help="folder of audio, manifest or folder of shards; may be repeated")  # fmt: skip
    parser.add_argument("--against", metavar="WHAT", action="append", default=[],
                        help="compare with griffinlim, another checkpoint, or a folder of audio named like the"
                        " utterances; may be repeated")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=folder,
                        help="write results.json, table.md, chart.png and a file per utterance; a second run reuses"
                        " valid rows")  # fmt: skip
    parser.add_argument("--keep-audio", action="store_true",
                        help="also write the measured audio (the first draw) to DIR/audio")  # fmt: skip
    parser.add_argument("--all", action="store_true", dest="everything",
                        help="evaluate the training utterances too, not only held-out ones")  # fmt: skip
    parser.add_argument("--limit", metavar="N", type=positive_int, help="at most N utterances of each corpus")
    parser.add_argument("--draws", metavar="N", type=positive_int, default=1,
                        help="synthesise each utterance with N seeds and average the measures (default 1)")  # fmt: skip
    parser.add_argument("--lag", metavar="SAMPLES", type=int,
                        help="delay of the audio in folders of --against (default: estimated, one for each"
                        " folder)")  # fmt: skip
    parser.add_argument("--pyin", action="store_true",
                        help="also measure F0 and voicing by librosa's pYIN, a second judge (slow)")  # fmt: skip
    parser.add_argument("--dnsmos", action="store_true",
                        help="also predict listeners' opinion by DNSMOS (extra `dnsmos`; 5 s a recording)")  # fmt: skip
    add_jobs(parser)
    add_cluster(parser, "utterances", "--jobs")
    add_sampling(parser)
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the files; 2 if an utterance could not be measured."""
    from flowvocoder.evaluation.chart import draw_chart
    from flowvocoder.evaluation.checkpoint import Settings, evaluate_checkpoint
    from flowvocoder.evaluation.report import write_report
    from flowvocoder.evaluation.tables import markdown
    from flowvocoder.files import check_folder
    from flowvocoder.parallel import check_jobs

    device = set_machine(arguments)
    if arguments.threads != 1:
        raise ConfigError(f"--threads {arguments.threads}: every process measures on one thread; --jobs says how many")
    check_temperature(arguments.temperature)
    out = arguments.out
    if arguments.keep_audio and out is None:
        raise ConfigError("--keep-audio needs --out")
    settings = Settings(
        against=[str(checkpoint_folder(what)) for what in arguments.against],
        everything=arguments.everything,
        limit=arguments.limit,
        temperature=arguments.temperature,
        seed=arguments.seed,
        draws=arguments.draws,
        lag=arguments.lag,
        jobs=check_jobs(arguments.jobs or (0 if device.type == "cpu" else 1)),  # a GPU is timed alone
        device=str(device),
        keep_audio=arguments.keep_audio,
        cluster=arguments.cluster,
        groups=tuple(group for group in GROUPS if getattr(arguments, group)),
        **iterations(arguments),
    )
    if out is not None:
        check_folder(out)
    evaluation = evaluate_checkpoint(arguments.checkpoint, arguments.corpus, settings, out)
    table = markdown(evaluation)
    print(table, end="")
    if out is not None:
        print(write_report(out, evaluation.to_dict(), table, draw_chart(evaluation)), file=sys.stderr)
    for failure in evaluation.failures:
        say(f"flowvocoder: {failure}")
    return FAILED if evaluation.failures else 0


COMMAND = Command("evaluate", "measure a vocoder on held-out recordings, beside others", options, run)
