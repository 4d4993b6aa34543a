"""Who speaks in a folder of recordings: its `speakers.csv`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from flowvocoder.errors import DataError
from flowvocoder.files import reason

SPEAKERS = "speakers.csv"
DELIMITERS = "|,;\t"


def read_speakers(root: Path, names: Sequence[str]) -> list[str | None]:
    """The speaker of each recording, by its name below the folder (`p225/p225_001`); None: not known.

    The table has a header. With a column `id` every line names a recording and, in the column `speaker`, who speaks.
    Without it every line names a speaker, and the names of their recordings begin with it (`p225_001`).

    Raises:
        DataError: it cannot be read, has no column `speaker`, or gives no recording a speaker.
    """
    path = root / SPEAKERS
    if not path.is_file():
        return [None] * len(names)
    columns, rows = _table(path)
    if "speaker" not in columns:
        raise DataError(f"{path}: has no column speaker, only {', '.join(columns)[:100]}")
    if "id" in columns:
        by_id = {row["id"]: row["speaker"] or None for row in rows}
        found = [by_id.get(name) for name in names]
    else:
        speakers = {row["speaker"] for row in rows} - {""}
        found = [_beginning(name, speakers) for name in names]
    if not any(found):
        raise DataError(f"{path}: names no speaker of the {len(names)} recordings, such as {names[0]}")
    return found


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    header = lines[0] if lines else ""
    delimiter = next((d for d in DELIMITERS if d in header), ",")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"{path}: is no table ({error})") from error
    columns = [name.lower() for name in rows[0]] if rows else []
    return columns, [dict(zip(columns, [*row, *[""] * len(columns)], strict=False)) for row in rows[1:]]


def _beginning(name: str, speakers: set[str]) -> str | None:
    """The longest of the speakers that the name begins with, as a whole word."""
    ends = [i for i, letter in enumerate(name) if not letter.isalnum()] + [len(name)]
    return next((name[:end] for end in reversed(ends) if name[:end] in speakers), None)
