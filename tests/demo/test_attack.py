"""Some of what `python tests/demo_attack.py` does to the demo, which takes minutes; a twentieth with `--thorough`."""

from pathlib import Path

import pytest
from demo_attack import Attacker, Row
from demo_fixtures import Server

pytestmark = pytest.mark.slow


def no_problem(rows: list[Row]) -> None:
    problems = [problem for row in rows for problem in row.problems]
    assert not problems, "\n".join(problems)


def test_others_files_and_broken_requests(demo: Server, tmp_path: Path) -> None:
    attacker = Attacker(demo, 0.02, seed=0, folder=tmp_path)
    no_problem([attacker.traversal(), attacker.malformed()])


@pytest.mark.thorough
def test_the_demo_withstands_an_attack(demo: Server, tmp_path: Path) -> None:
    """All kinds. Without: addresses and names are in `test_door.py`, the queue and bodies in `test_limits.py`, small
    files that claim to be large in `test_api.py`."""
    no_problem(Attacker(demo, 0.05, seed=0, folder=tmp_path).everything())
