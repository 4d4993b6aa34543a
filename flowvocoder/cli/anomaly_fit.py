"""`anomaly fit`: what is normal, from clean recordings."""

import argparse
import shutil
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.options import add_jobs, folder, positive_int, seed


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", type=Path,
                        help="folder of clean recordings, of one speaker or with a speakers.csv")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=folder, required=True, help="folder for the detector")
    parser.add_argument("--crops", type=positive_int, default=480, metavar="N",
                        help="crops to learn from, as they are and damaged in three ways (default 480)")  # fmt: skip
    parser.add_argument("--calibration", type=positive_int, default=320, metavar="N",
                        help="crops of held-out speakers, 2 at least: half of them give p-values, from 1 / (N / 2 + 1)"
                        " on (default 320)")  # fmt: skip
    parser.add_argument(
        "--seed", type=seed, default=0, help="random seed; the same gives the same detector (default 0)"
    )
    add_jobs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fits, saves, and says how good it is on what was held out."""
    from flowvocoder.anomaly import AnomalyDetector
    from flowvocoder.anomaly.fitting import Settings
    from flowvocoder.anomaly.folder import check
    from flowvocoder.parallel import check_jobs

    check(arguments.out)
    jobs = check_jobs(arguments.jobs)
    settings = Settings(arguments.crops, arguments.calibration, seed=arguments.seed)
    work = arguments.out.resolve().parent / f".{arguments.out.resolve().name}.examples"
    detector = AnomalyDetector.fit(arguments.corpora, settings, work, jobs)
    detector.save(arguments.out)
    shutil.rmtree(work, ignore_errors=True)
    clean = detector.calibration
    crops = f"{len(clean.scores)} crops, {clean.seconds / 60.0:.1f} min, of speakers held out"
    print(f"{arguments.out}: calibrated with {crops}; p-values from {clean.shown} on")
    return 0


COMMAND = Command("anomaly fit", "learn what is normal, to find what is broken in speech", options, run)
