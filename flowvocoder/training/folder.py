"""The folder of a run: what it holds, and who may continue it."""

import os
from pathlib import Path

from flowvocoder.errors import ConfigError, OutputError
from flowvocoder.files import check_folder, reason, writing

CHECKPOINT, BEST, STATE = "checkpoint", "best", "state"

LOG = "log.jsonl"

OWNER = ".torchrun"
"""File that names the torchrun whose workers began the run."""


def resumes(out: Path, requested: bool) -> bool:
    """Whether a run continues from what is in its folder.

    It does if that is requested, and after torchrun restarted the workers of a run that it had begun itself. A folder
    that was there before stays refused, however often torchrun tries.
    """
    return requested or (_restarts() > 0 and _owner(out) == _torchrun())


def check_free(out: Path, resumed: bool) -> None:
    """Check the folder before a run begins.

    Raises:
        ConfigError: it holds a run or a checkpoint, and the run does not resume.
        OutputError: it is a file.
    """
    if not resumed:
        for name in (STATE, CHECKPOINT, BEST, LOG, "config.json"):
            if (out / name).is_dir() or ((out / name).is_file() and (out / name).stat().st_size):
                raise ConfigError(f"{out}: holds a run already ({name}): add --resume to continue it, or name"
                                  " another folder")  # fmt: skip
    check_folder(out)


def sign(out: Path) -> None:
    """Make the folder and note the name of our torchrun in it, if there is one; for the main process.

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
    """Identifies a torchrun: by the name that several nodes share, or on a single node by its process."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return str(os.getppid()) if name == "none" else name


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
