"""One CPU thread for this package, and the caller's own number for everything else in the caller's program."""

import threading
import time
from pathlib import Path

import pytest
import torch

from flowvocoder.config import override
from flowvocoder.data.segments import Batch
from flowvocoder.inference import without_gradients
from flowvocoder.presets import preset
from flowvocoder.threads import own_threads, set_threads
from flowvocoder.training.trainer import Trainer


def seen_by_a_new_thread() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def wait_for(number: int) -> bool:
    end = time.monotonic() + 60
    while seen_by_a_new_thread() != number and time.monotonic() < end:
        time.sleep(0.01)
    return seen_by_a_new_thread() == number


class Work:
    device = torch.device("cpu")

    @without_gradients
    def number(self) -> torch.Tensor:
        return torch.tensor(torch.get_num_threads())


def test_methods_use_one_thread_and_the_caller_keeps_its_own() -> None:
    torch.set_num_threads(3)
    assert int(Work().number()) == 1 and torch.get_num_threads() == 3
    with own_threads():
        assert torch.get_num_threads() == 1
        assert wait_for(3), "a thread that begins meanwhile"
    assert torch.get_num_threads() == 3 and seen_by_a_new_thread() == 3


def test_threads_that_run_already_keep_their_number() -> None:
    torch.set_num_threads(3)
    inside, look, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        seen.append(torch.get_num_threads())
        inside.set()
        look.wait(60)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(60)
    with own_threads():
        look.set()
        thread.join()
    assert seen == [3, 3]


def test_the_callers_number_comes_back_after_an_error() -> None:
    torch.set_num_threads(3)
    with pytest.raises(ValueError), own_threads():
        raise ValueError
    assert torch.get_num_threads() == 3 and wait_for(3)


def test_more_threads_on_request() -> None:
    set_threads(2)
    torch.set_num_threads(3)
    assert int(Work().number()) == 2 and torch.get_num_threads() == 3
    with own_threads(1):
        assert torch.get_num_threads() == 1


def test_training_uses_one_thread_too(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(3)
    trainer = Trainer(override(preset("lapglow-tiny"), ["batch=2", "segment=4096"]), [corpus], tmp_path / "run")
    seen, batch = [], trainer.loader.batch

    def watched(step: int) -> Batch:
        seen.append(torch.get_num_threads())
        return batch(step)

    monkeypatch.setattr(trainer.loader, "batch", watched)
    trainer.train_step(1e-4)
    trainer.close()
    assert seen == [1] and torch.get_num_threads() == 3
