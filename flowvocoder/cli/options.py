"""Options that several commands share, and the kinds of values they take."""

import argparse
import contextlib
import re
from pathlib import Path

from flowvocoder.voice_card import checkpoint_folder

DENOISER_MODES = ("silence", "reference", "normal")

UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

MOST_DRAWS = 256


def seed(text: str) -> int:
    """A seed as PyTorch takes it."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^63 - 1, not {value}")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0.0 < value < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"must be above 0, not {text!r}")


def positive_int(text: str) -> int:
    """A whole number above 0."""
    with contextlib.suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise argparse.ArgumentTypeError(f"must be 1 or above and whole, not {text!r}")


def draws(text: str) -> int:
    """How many samples of one mel: few enough to end."""
    if (value := positive_int(text)) > MOST_DRAWS:
        raise argparse.ArgumentTypeError(f"must be {MOST_DRAWS} at most, not {value}")
    return value


def size(text: str) -> int:
    """Bytes, as `40MB`."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)", text.strip())
    units = {name.lower(): factor for name, factor in UNITS.items()}
    if found is None or found[2].lower() not in units or not float(found[1]):
        raise argparse.ArgumentTypeError(f"must be a size such as 40MB, not {text!r}")
    return int(float(found[1]) * units[found[2].lower()])


def folder(text: str) -> Path:
    """A folder to write to: "" would be the one the command runs in."""
    if not text:
        raise argparse.ArgumentTypeError("must name a folder, not ''")
    return Path(text)


def add_checkpoint(parser: argparse.ArgumentParser, files: bool = True) -> None:
    """--checkpoint, --device and --threads."""
    parser.add_argument("--checkpoint", metavar="DIR", type=checkpoint_folder,
                        help="checkpoint folder or one of `voices` (default: the bundled one)")  # fmt: skip
    add_machine(parser, files)


def add_machine(parser: argparse.ArgumentParser, files: bool = False) -> None:
    """--device and --threads, which share out several `files`."""
    shared = "; several files are shared among as many processes" if files else ""
    add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help=f"CPU threads (default 1){shared}")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 or mps")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """--seed, --temperature, --gl-iters, --low-band-iters and --latency."""
    parser.add_argument("--seed", type=seed, default=0, help="random seed; the same seed gives the same samples"
                        " (default 0)")  # fmt: skip
    parser.add_argument("--temperature", type=float,
                        help="standard deviation of the drawn noise (default: the checkpoint's)")  # fmt: skip
    add_iterations(parser)
    add_latency(parser)


def add_latency(parser: argparse.ArgumentParser) -> None:
    """--latency."""
    parser.add_argument("--latency", type=float, metavar="MS",
                        help="milliseconds from a mel frame to its samples in a stream: the best iterations are chosen"
                        " for it (default in streams: see `flowvocoder info`)")  # fmt: skip


def add_iterations(parser: argparse.ArgumentParser) -> None:
    """--gl-iters and --low-band-iters."""
    parser.add_argument("--gl-iters", type=int, metavar="N",
                        help="mel-consistency (Griffin-Lim) iterations after the flow (default: the checkpoint's);"
                        " each delays a stream by one analysis window; a voice's refiner precedes the last"
                        " two")  # fmt: skip
    parser.add_argument("--low-band-iters", type=int, metavar="N",
                        help="further ones below 2 kHz (default: the checkpoint's; streams run the rounds of"
                        " --latency instead)")  # fmt: skip


def add_engine(parser: argparse.ArgumentParser, *more: str) -> None:
    """--engine and --precision."""
    onnx = "; onnx: ONNX Runtime on a folder of `export`" if "onnx" in more else ""
    parser.add_argument("--engine", default="eager", choices=["auto", "eager", "numba", "compile", *more],
                        help="eager: PyTorch (default); numba: compiled recursion; compile: graphs, after a minute's"
                        f" warm-up; auto: numba if installed{onnx}")  # fmt: skip
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"],
                        help="of the networks (default float32); bfloat16 is for GPUs and CPUs with AMX, float16"
                        " for GPUs")  # fmt: skip


def add_chunk(parser: argparse.ArgumentParser) -> None:
    """--chunk."""
    parser.add_argument("--chunk", type=int, default=8, metavar="FRAMES",
                        help="frames read from a pipe at a time (default 8)")  # fmt: skip


def add_denoiser(parser: argparse.ArgumentParser) -> None:
    """--denoise and --denoise-mode."""
    parser.add_argument("--denoise", metavar="STRENGTH", type=float, default=0.0,
                        help="strength of spectral subtraction of the model's own noise; 0.1 is usual"
                        " (default 0, off)")  # fmt: skip
    parser.add_argument("--denoise-mode", choices=DENOISER_MODES, default="silence",
                        help="mel that this noise is measured with: digital silence (default), the reference level, or"
                        " Gaussian numbers")  # fmt: skip


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """--jobs."""
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="processes (default: one for each core)")


def add_cluster(parser: argparse.ArgumentParser, what: str, workers: str = "--threads") -> None:
    """--cluster."""
    parser.add_argument("--cluster", metavar="ADDRESS",
                        help=f"share {what} among a Ray cluster; `local` starts one with {workers}"
                        " workers")  # fmt: skip


def add_settings(parser: argparse.ArgumentParser, help: str) -> None:
    """--set, as often as needed."""
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help=help)
