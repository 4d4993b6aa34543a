"""The folder of a run: what it holds, and who may go on in it."""

import os
from pathlib import Path

from flowvocoder.errors import ConfigError, OutputError
from flowvocoder.files import check_folder, reason, writing

CHECKPOINT, BEST, STATE = "checkpoint", "best", "state"

LOG = "log.jsonl"

OWNER = ".torchrun"
"""File that names the torchrun whose workers began the run."""


def goes_on(out: Path, asked: bool) -> bool:
    """Whether a run is to go on from what is there: when asked to, and after torchrun restarted the workers of a run
    that it had begun itself. A folder that was there before stays refused, however often torchrun tries."""
    return asked or (_restarts() > 0 and _owner(out) == _torchrun())


def check_free(out: Path, resumed: bool) -> None:
    """Before a run begins.

    Raises:
        ConfigError: the folder holds a run or a checkpoint, and none is to be gone on with.
        OutputError: it is a file.
    """
    if not resumed:
        for name in (STATE, CHECKPOINT, BEST, LOG, "config.json"):
            if (out / name).is_dir() or ((out / name).is_file() and (out / name).stat().st_size):
                raise ConfigError(f"{out}: holds a run already ({name}): add --resume to go on with it, or name another"
                                  " folder")  # fmt: skip
    check_folder(out)


def sign(out: Path) -> None:
    """Make the folder, with the name of our torchrun, if there is one; for the main process.

    Raises:
        OutputError: it cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made a folder ({reason(error)})") from error
    if "TORCHELASTIC_RUN_ID" in os.environ:
        with writing(out / OWNER) as temporary:
            temporary.write_text(_torchrun(), encoding="utf-8")


def _owner(out: Path) -> str | None:
    try:
        return (out / OWNER).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _torchrun() -> str:
    """What tells one torchrun from another: the name that several nodes share, or on a single node its process."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return str(os.getppid()) if name == "none" else name


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
