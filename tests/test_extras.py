"""Libraries that only some commands need."""

import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowvocoder.errors import ConfigError
from flowvocoder.extras import library


def test_what_a_library_warns_of_when_it_is_imported_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grumbles.py").write_text("import warnings\nwarnings.warn('old')\nheard = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "grumbles", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library("grumbles", "evaluate").heard == 1
        assert library("grumbles", "evaluate") is sys.modules.pop("grumbles")
        with pytest.raises(UserWarning):
            warnings.warn("of ours", stacklevel=1)


def test_one_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ConfigError, match=r"needs pyworld, .*flowvocoder\[evaluate\]"):
        library("pyworld", "evaluate")


def test_threads_that_need_it_at_once_wait_until_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_one.py").write_text("import time\ntime.sleep(0.3)\nheard = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_one", raising=False)
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as threads:

        def late(seconds: float) -> int:
            time.sleep(seconds)
            return int(library("slow_one", "evaluate").heard)

        assert list(threads.map(late, (0.0, 0.0, 0.1, 0.2))) == [1] * 4
    assert warnings.filters == filters
    del sys.modules["slow_one"]
