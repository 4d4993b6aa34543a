"""Where a run reports: `log.jsonl`, TensorBoard, and one line on standard error now and then."""

import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from flowvocoder.audio.plots import draw_pair
from flowvocoder.errors import OutputError
from flowvocoder.files import reason
from flowvocoder.progress import EVERY, is_terminal, say
from flowvocoder.training.folder import LOG
from flowvocoder.unfinished import hold, release
from flowvocoder.units import bits_per_sample


class RunLog:
    """One run's log.

    Args:
        out: run folder.
        step: the step the run starts from; later entries of an earlier, longer attempt are dropped.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, out: Path, step: int):
        self.last_validation: dict[str, float] = {}
        self._printed = time.monotonic()
        self._path = out / LOG
        try:
            self._open(step)
            kept = _entries_up_to(self._path, step)
            for line in kept:
                self.last_validation = json.loads(line).get("validation", self.last_validation)
            self._file.truncate(0)
            self._file.writelines(kept)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({reason(error)})") from error

    def step(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """Numbers of one training step."""
        self._write(step, {"seconds": round(seconds, 2), **values})
        if step % 10 == 0:
            self._scalars("train", step, values)
        text = headline(values)
        if text and not is_terminal() and time.monotonic() - self._printed > EVERY:
            self._printed = time.monotonic()
            say(f"step {step}: {text}, {seconds / 60:.1f} min")

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Held-out likelihood."""
        self.last_validation = values
        self._write(step, {"validation": values})
        self._scalars("validation", step, values)
        nats = values["nats"]
        self.message(
            step, f"step {step}: validation {nats:.4f} nats, {bits_per_sample(nats):.4f} bits/sample", keep=False
        )

    def plots(self, step: int, examples: list[tuple[str, Tensor, Tensor]], sample_rate: int) -> None:
        """Audio and spectrograms of recordings and samples, to TensorBoard."""
        for corpus, recording, sample in examples:
            image = draw_pair(recording.numpy(), sample.numpy(), sample_rate)
            self._to_board("add_audio", f"{corpus}/recording", recording[None], step, sample_rate)
            self._to_board("add_audio", f"{corpus}/sample", sample.clamp(-1.0, 1.0)[None], step, sample_rate)
            self._to_board("add_image", f"{corpus}/spectrograms", image, step, dataformats="HWC")

    def message(self, step: int, text: str, keep: bool = True) -> None:
        """A sentence for people, on standard error and (keep) in the log."""
        if keep:
            self._write(step, {"message": text})
        say(text)

    def close(self) -> None:
        self._to_board("close")
        self._file.close()
        release(self._lock)

    def _open(self, step: int) -> None:
        """Open log and TensorBoard, and keep the folder to ourselves as long as they are open."""
        out = self._path.parent
        out.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        try:
            self._lock = hold(self._path)
        except BlockingIOError as error:
            raise OutputError(f"{out}: another process is training into this folder") from error
        self._board = _board(out / "tensorboard", step)

    def _go_on_if_deleted(self, step: int) -> None:
        if self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
            return
        self.close()
        self._open(step)
        self.message(step, f"{self._path}: was deleted or moved meanwhile: a new log begins after step {step}")

    def _scalars(self, group: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._to_board("add_scalar", f"{group}/{name}", value, step)

    def _to_board(self, method: str, *arguments: Any, **options: Any) -> None:
        if self._board is None:
            return
        try:
            getattr(self._board, method)(*arguments, **options)
        except OSError as error:  # its own thread writes, so any call may report it
            self._board = None
            say(f"TensorBoard is off from here on: cannot be written ({reason(error)})")

    def _write(self, step: int, entry: dict[str, object]) -> None:
        try:
            self._go_on_if_deleted(step)
            self._file.write(json.dumps({"step": step, **entry}) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({reason(error)})") from error


class NoLog(RunLog):
    """The log of a process that is not the main one: nothing."""

    def __init__(self) -> None:
        self.last_validation = {}
        self._board = None
        self._printed = math.inf

    def message(self, step: int, text: str, keep: bool = True) -> None:
        pass

    def close(self) -> None:
        pass

    def _write(self, step: int, entry: dict[str, object]) -> None:
        pass


def open_log(out: Path, step: int, is_main: bool) -> RunLog:
    """The log of a run, or none for processes that are not the main one."""
    return RunLog(out, step) if is_main else NoLog()


def headline(values: dict[str, float]) -> str:
    """One step in a few words: its likelihood, or where there is none its loss; nothing if it was skipped."""
    if "nats" in values:
        return f"{values['nats']:.3f} nats/sample, {bits_per_sample(values['nats']):.3f} bits/sample"
    return f"loss {values['loss']:.4f}" if "loss" in values else ""


def _entries_up_to(path: Path, step: int) -> list[str]:
    if step == 0 or not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a killed run may be cut short
    return kept


def _board(folder: Path, step: int):  # type: ignore[no-untyped-def]
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("tensorboard is not installed: pip install tensorboard for curves and audio")
        return None
    threading.excepthook = _quiet_disk_errors
    try:
        return SummaryWriter(str(folder), purge_step=step)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({reason(error)})") from error


def _quiet_disk_errors(args: threading.ExceptHookArgs) -> None:
    # TensorBoard's own thread prints a traceback when the disk is full; RunLog says it in a sentence.
    if not isinstance(args.exc_value, OSError):
        threading.__excepthook__(args)
