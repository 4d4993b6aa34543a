"""Libraries that only some commands need."""

import sys
import warnings
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
