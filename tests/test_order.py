"""The order of tests, in a run of several processes."""

import collections
import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

CONFTEST = """
import os, pytest
from pathlib import Path
from order import arranged

def pytest_collection_modifyitems(items):
    items[:] = arranged(items, lambda item: "demo" in item.name)

def pytest_runtest_setup(item):
    with Path(os.environ["RAN"], os.environ.get("PYTEST_XDIST_WORKER", "alone")).open("a") as file:
        print(item.nodeid, file=file)
"""
SHORT = "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_short(n): pass\n"
LONG = SHORT + "@pytest.mark.long\ndef test_long(): pass\n"
DEMO = SHORT + "def test_demo_1(): pass\ndef test_demo_2(): pass\n"


@pytest.fixture
def ran(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which each process lists what it ran, of a suite that has every kind of test."""
    shutil.copy(Path(__file__).with_name("order.py"), pytester.path)
    pytester.makeconftest(CONFTEST)
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["long"]\n')
    pytester.makepyfile(test_a=SHORT, test_b=LONG, test_c=DEMO, test_d=LONG, test_e=SHORT)
    monkeypatch.setenv("RAN", str(pytester.mkdir("ran")))
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return pytester.path / "ran"


@pytest.mark.thorough
def test_each_process_begins_with_long_tests_and_one_with_those_of_the_demo(
    ran: Path, pytester: pytest.Pytester
) -> None:
    done = pytester.runpytest_subprocess("-n", "3", "--dist", "worksteal")
    done.assert_outcomes(passed=104)
    lists = [file.read_text().split() for file in ran.iterdir()]
    # Whichever process is ready first takes the first share.
    assert sorted(names[0] for names in lists) == [
        "test_b.py::test_short[0]", "test_c.py::test_demo_1", "test_d.py::test_short[0]",
    ]  # fmt: skip
    assert ["test_c.py::test_demo_1", "test_c.py::test_demo_2"] in [names[:2] for names in lists]
    counts = collections.Counter(name for names in lists for name in names)
    assert len(counts) == 104 and set(counts.values()) == {1}


def test_one_process_begins_with_the_demo_then_the_long_ones(ran: Path, pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess("-p", "no:xdist").assert_outcomes(passed=104)
    names = (ran / "alone").read_text().split()
    assert names[:2] == ["test_c.py::test_demo_1", "test_c.py::test_demo_2"]
    assert {name.split(":")[0] for name in names[2:44]} == {"test_b.py", "test_d.py"}
    assert names[44] == "test_a.py::test_short[0]"
