"""Files in, a file out for each: what `synth`, `resynth`, `mel`, `encode` and `decode` do with the paths they get."""

import argparse
import contextlib
import functools
import glob
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, cast

from flowvocoder.cli.command import FAILED, say
from flowvocoder.cli.common import check_not_input, check_output
from flowvocoder.cli.options import add_cluster
from flowvocoder.cli.processes import each
from flowvocoder.errors import DataError, FlowVocoderError, OutputError
from flowvocoder.files import claiming, files_below
from flowvocoder.progress import progress
from flowvocoder.unfinished import is_being_written

AUDIO_OUT = (".wav", ".flac")
"""Suffixes of audio that is written; in a folder, it has the first."""


class Formats(NamedTuple):
    """What a command reads and writes."""

    what: str  # an input, in a word
    inputs: tuple[str, ...]  # suffixes that count in folders
    outputs: tuple[str, ...]  # that an output may have; in a folder, it has the first
    shards: tuple[str, ...] = ()  # of inputs that hold many, each of which gives an output of its own kind

    def outputs_of(self, path: Path) -> tuple[str, ...]:
        """Suffixes that the output of an input may have."""
        return (path.suffix.lower(),) if self.is_shard(path) else self.outputs

    def is_shard(self, path: Path) -> bool:
        """Whether an input holds many, by its name."""
        return path.suffix.lower() in self.shards


def recordings_to(*outputs: str) -> Formats:
    """Any recording to such a file. Imports numpy."""
    from flowvocoder.audio.files import EXTENSIONS

    return Formats("recording", EXTENSIONS, outputs)


class Job(NamedTuple):
    """One file to read, and the one to write."""

    input: Path
    output: Path


Convert: TypeAlias = Callable[[Path, Path], str]
"""Writes the second file from the first; returns what it did, in words."""

Start: TypeAlias = Callable[[argparse.Namespace, bool], Convert]
"""Makes ready, and gives what converts; it is told whether there are several files. A function of a module, as in
`each`."""


class ConvertTogether(Protocol):
    """A `Convert` that also writes several at once, all of them or none."""

    def __call__(self, input: Path, output: Path, /) -> str: ...
    def together(self, jobs: Sequence[Job], /) -> None: ...


Groups: TypeAlias = Callable[[argparse.Namespace, Sequence[Job]], Sequence[Sequence[Job]]]
"""What is written together; where it makes groups of several, `Start` gives a `ConvertTogether`."""


def add_paths(parser: argparse.ArgumentParser, what: str, output: str, count: str = "+") -> None:
    """PATH..., the last of which is the output, and --force."""
    parser.add_argument("paths", metavar="PATH", nargs=count,
                        help=f"{what}s, folders or globs; then {output} for one {what}, else a folder")  # fmt: skip
    parser.add_argument("--force", action="store_true",
                        help=f"replace existing outputs when there are several {what}s")  # fmt: skip
    add_cluster(parser, f"several {what}s")


def one_by_one(arguments: argparse.Namespace, jobs: Sequence[Job]) -> list[list[Job]]:
    """`Groups` of one."""
    return [[job] for job in jobs]


def convert_files(arguments: argparse.Namespace, formats: Formats, start: Start, groups: Groups = one_by_one) -> int:
    """One file to a file that is named, or several to a folder, in which what is there already is not done again.

    Programs that write to the same folder share the work.

    Returns:
        The exit code: 2 if some could not be converted, each with a line on standard error; the rest is.
    """
    *inputs, output = arguments.paths
    jobs, several = plan(inputs, Path(output), formats)
    todo = [job for job in jobs if arguments.force or not several or not job.output.exists()]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} are there already (--force does them again)", file=sys.stderr)
    if not todo:
        return 0
    for folder in filter(Path.is_dir, map(Path, inputs)):
        _say_passed_over(folder, jobs)
    if not several:
        print(start(arguments, False)(*todo[0]))
        return 0
    written = refused = 0
    attempts = functools.partial(_attempts, start=start)
    grouped = groups(arguments, todo)
    outcomes = each(arguments, attempts, grouped, [jobs[0].input for jobs in grouped])
    # Of a group that ended its process, each gets the sentence about it.
    flat = (o for jobs, found in zip(grouped, outcomes, strict=True)
            for o in ([found] * len(jobs) if isinstance(found, str) else found))  # fmt: skip
    for outcome in progress(flat, arguments.command, formats.what, len(todo)):
        written += outcome is True
        if isinstance(outcome, str):
            refused += 1
            say(f"flowvocoder: {outcome}")
    left = len(todo) - written - refused
    print(f"{written} written to {output}, {refused} refused" + f", {left} left to another program" * bool(left))
    return FAILED if refused else 0


def _attempts(arguments: argparse.Namespace, start: Start) -> Callable[[Sequence[Job]], list[bool | str]]:
    return functools.partial(_attempt, start(arguments, True), arguments.force)


def _attempt(convert: Convert, force: bool, jobs: Sequence[Job]) -> list[bool | str]:
    """Of each: whether it was written here and not by another program, or what is wrong with the input."""
    free = [job for job in jobs if not (is_being_written(job.output) or (job.output.exists() and not force))]
    try:
        with contextlib.ExitStack() as claims:
            for job in free:
                claims.enter_context(claiming(job.output))
            if len(free) > 1:
                cast(ConvertTogether, convert).together(free)
            elif free:
                convert(*free[0])
    except OutputError:
        raise  # the next file would meet the same disk
    except FlowVocoderError as error:
        if len(jobs) == 1:
            return [str(error)]
        return [found for job in jobs for found in _attempt(convert, force, [job])]  # one is wrong, not the others
    return [job in free for job in jobs]


def plan(inputs: Sequence[str], output: Path, formats: Formats) -> tuple[list[Job], bool]:
    """What to write, and whether that goes into a folder.

    Raises:
        DataError: no input, or nothing found.
        OutputError: several inputs for one file, two for the same one, or an output that would replace an input.
    """
    if not inputs:
        raise DataError(f"{output}: is the only path: name a {formats.what}, then where to write")
    if not _several(inputs) and output.suffix and not output.is_dir():
        check_output(output, formats.outputs_of(Path(inputs[0])))
        jobs = [Job(Path(inputs[0]), output)]
    elif output.suffix in formats.outputs:
        raise OutputError(
            f"{', '.join(inputs)}: a folder or several {formats.what}s do not go into one file, {output}: name a folder"
        )
    elif set(formats.inputs) & set(formats.outputs) and any(_same(Path(text), output) for text in inputs):
        raise OutputError(f"{output}: the next run would take these outputs for inputs: name another folder")
    else:
        jobs = _into_folder(inputs, output, formats)
    check_not_input([job.output for job in jobs], [job.input for job in jobs])
    return jobs, jobs[0].output != output


def find_files(inputs: Sequence[str], suffixes: tuple[str, ...]) -> list[Path]:
    """The files that paths, folders and globs name; in folders and globs, only regular ones that are not hidden.

    Raises:
        DataError: a folder or glob without any.
    """
    return [file for text in inputs for file in _found(text, suffixes)]


def _found(text: str, suffixes: tuple[str, ...]) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        found = files_below(path, suffixes)
    elif _is_glob(text):
        named = map(Path, sorted(glob.glob(text, recursive=True)))  # noqa: PTH207 (absolute patterns)
        found = [p for p in named if p.is_file() and not p.name.startswith(".")]
    else:
        return [path]
    if not found:
        raise DataError(f"{text}: no {', '.join(suffixes)} files there")
    return found


def _say_passed_over(folder: Path, jobs: Sequence[Job]) -> None:
    """Name the files in a folder that are neither inputs nor outputs."""
    known = {path for job in jobs for path in (job.input, job.output, job.input.with_name(f"{job.input.name}.json"))}
    others = [p for p in files_below(folder) if p not in known]
    if others:
        more = f" and {len(others) - 3} more" * (len(others) > 3)
        say(f"{folder}: passed over: {', '.join(str(p.relative_to(folder)) for p in others[:3])}{more}")


def _several(inputs: Sequence[str]) -> bool:
    return len(inputs) > 1 or Path(inputs[0]).is_dir() or _is_glob(inputs[0])


def _same(one: Path, other: Path) -> bool:
    return one.is_dir() and one.resolve() == other.resolve()


def _is_glob(text: str) -> bool:
    return not Path(text).exists() and glob.has_magic(text)


def _into_folder(inputs: Sequence[str], output: Path, formats: Formats) -> list[Job]:
    """Below a folder, with the names and folders that the files have below the folders given."""
    roots = [Path(text) for text in inputs if Path(text).is_dir()]
    written = output.resolve()
    jobs: dict[Path, Job] = {}
    for file in find_files(inputs, formats.inputs + formats.shards):
        root = next((r for r in roots if file.is_relative_to(r)), file.parent)
        if file.resolve().is_relative_to(written) and not root.resolve().is_relative_to(written):
            continue  # what an earlier run has written
        target = (output / file.relative_to(root)).with_suffix(formats.outputs_of(file)[0])
        if target in jobs and jobs[target].input != file:
            raise OutputError(f"{target}: both {jobs[target].input} and {file} would be written there")
        jobs[target] = Job(file, target)
    if not jobs:
        raise DataError(f"{', '.join(inputs)}: no {formats.what} there but those in {output}")
    return list(jobs.values())
