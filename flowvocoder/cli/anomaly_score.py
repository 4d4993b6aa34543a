"""`anomaly score`: what is broken in recordings, and where."""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowvocoder.cli.bulk import find_files, plan, recordings_to
from flowvocoder.cli.command import FAILED, Command, say
from flowvocoder.cli.common import check_not_input, check_output, say_changes
from flowvocoder.cli.options import add_cluster, positive, positive_int
from flowvocoder.cli.processes import each
from flowvocoder.errors import AudioError, ConfigError, OutputError
from flowvocoder.progress import progress

if TYPE_CHECKING:
    from flowvocoder.anomaly.spans import Span

PIPE = "-"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+",
                        help="recordings, folders or globs; `-`: 16-bit mono PCM from standard input")  # fmt: skip
    parser.add_argument(
        "--detector", metavar="DIR", type=Path, help="folder that `anomaly fit` wrote (default: bundled)"
    )
    parser.add_argument("--false-alarms", metavar="SHARE", type=positive, default=0.01,
                        help="share of clean recordings, or of 10 s of longer ones, that are called anomalous"
                        " (default 0.01)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as a JSON list of file, score, p_value, spans")
    parser.add_argument("--out", metavar="REPORT", type=Path, help="also write that list to this .json file")
    parser.add_argument("--plot", metavar="PATH", type=Path,
                        help="spectrogram, score and spans: a .png for one file, else a folder of them")  # fmt: skip
    parser.add_argument("--rate", metavar="HZ", type=positive_int, default=22050,
                        help="of PCM from standard input (default 22050)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1,
                        help="CPU threads (default 1); several files are shared among as many processes")  # fmt: skip
    add_cluster(parser, "several recordings")


def run(arguments: argparse.Namespace) -> int:
    """A line or JSON for each file, or for each span of a stream; a file that cannot be read is named.

    The exit code is 1 if anything is anomalous.
    """
    if PIPE in arguments.paths:
        return _stream(arguments)
    from flowvocoder.audio.files import EXTENSIONS

    arguments.device = "cpu"
    files = find_files(arguments.paths, EXTENSIONS)
    _check_outputs(arguments, files)
    rows: list[dict[str, Any]] = []
    results = progress(each(arguments, _scorer, files, files), "score", "file", len(files))
    for result in results:
        if isinstance(result, str):
            say(f"flowvocoder: {result}")
            continue
        rows.append(result)
        if not arguments.json:
            print(_line(result, arguments.false_alarms), flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    if arguments.out:
        from flowvocoder.files import writing

        with writing(arguments.out) as temporary:
            temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if len(rows) < len(files):
        return FAILED
    return int(any(_is_anomalous(row, arguments.false_alarms) for row in rows))


def _is_anomalous(row: dict[str, Any], false_alarms: float) -> bool:
    return bool(row["spans"]) or row["p_value"] <= false_alarms


def _check_outputs(arguments: argparse.Namespace, files: list[Path]) -> None:
    if arguments.out:
        check_output(arguments.out, (".json",))
        check_not_input([arguments.out], files)
    arguments.plots = {}
    if arguments.plot:
        from flowvocoder.files import check_folder

        jobs, several = plan(arguments.paths, arguments.plot, recordings_to(".png"))
        if several:
            check_folder(arguments.plot)
        arguments.plots = {job.input: job.output for job in jobs}


def _scorer(arguments: argparse.Namespace) -> Callable[[Path], dict[str, Any] | str]:
    from flowvocoder.anomaly import AnomalyDetector
    from flowvocoder.threads import set_threads

    set_threads(arguments.threads)
    detector = AnomalyDetector.load(arguments.detector)
    detector.calibration.threshold(arguments.false_alarms)
    return functools.partial(_score, detector, arguments)


def _score(detector: Any, arguments: argparse.Namespace, path: Path) -> dict[str, Any] | str:
    from flowvocoder.audio.files import piped, read_as_stored

    try:
        recording = read_as_stored(path, content=piped(path))
        say_changes(path, recording)
        pieces = list(detector.pieces(recording.samples, recording.sample_rate))
        verdict = detector.verdict(pieces, arguments.false_alarms)
    except OutputError:
        raise
    except AudioError as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"
    if path in arguments.plots:
        import numpy as np

        from flowvocoder.anomaly.plots import save_verdict

        evidence = np.concatenate([piece.frames for piece in pieces])
        save_verdict(arguments.plots[path], recording.samples, recording.sample_rate, verdict, evidence, path.name)
    result: dict[str, Any] = verdict.as_json(str(path))
    return result


def _line(row: dict[str, Any], false_alarms: float) -> str:
    spans = ", ".join(f"{s['kind']} {s['start']:.2f}-{s['end']:.2f} s" for s in row["spans"])
    found = spans or ("anomalous" if _is_anomalous(row, false_alarms) else "nothing found")
    return f"{row['file']}: score {row['score']:.2f}, p = {row['p_value']:.4f}: {found}"


def _stream(arguments: argparse.Namespace) -> int:
    """A line of JSON for each span, as it ends."""
    import numpy as np

    from flowvocoder.anomaly import AnomalyDetector
    from flowvocoder.anomaly.stream import AnomalyStream
    from flowvocoder.audio.files import HIGHEST_RATE, LOWEST_RATE
    from flowvocoder.audio.pcm16 import from_pcm16
    from flowvocoder.threads import set_threads

    if arguments.paths != [PIPE]:
        raise ConfigError("- reads standard input: not with other files")
    if arguments.plot or arguments.out:
        raise ConfigError("--plot and --out are of files: not with standard input")
    if not LOWEST_RATE <= arguments.rate <= HIGHEST_RATE:
        raise ConfigError(f"--rate must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {arguments.rate}")
    if sys.stdin.isatty():
        raise ConfigError("standard input must be a pipe or file, not a terminal")
    set_threads(arguments.threads)
    found = 0
    stream = AnomalyStream(AnomalyDetector.load(arguments.detector), arguments.rate, arguments.false_alarms)
    left = b""
    total = 0
    while data := os.read(sys.stdin.fileno(), 1 << 16):
        total += len(data)
        data = left + data
        left = data[len(data) // 2 * 2 :]
        found += _say_spans(stream.push(from_pcm16(np.frombuffer(data[: len(data) // 2 * 2], np.int16))))
    if left or not total:
        raise AudioError(f"standard input: {total} bytes are no whole 16-bit samples")
    return int(found + _say_spans(stream.flush()) > 0)


def _say_spans(spans: "list[Span]") -> int:
    """Returns how many there are."""
    for span in spans:
        row = {"start": round(span.start, 3), "end": round(span.end, 3), "score": round(span.score, 3)}
        print(json.dumps({**row, "kind": span.kind}), flush=True)
    return len(spans)


COMMAND = Command("anomaly score", "find what is broken in recordings of speech, and where", options, run)
