"""A twentieth of what `python tests/demo_attack.py` does to the demo: all of it takes minutes."""

from pathlib import Path

import pytest
from demo_attack import Attacker
from demo_fixtures import Server

pytestmark = pytest.mark.slow


def test_the_demo_withstands_an_attack(demo: Server, tmp_path: Path) -> None:
    rows = Attacker(demo, 0.05, seed=0, folder=tmp_path).everything()
    problems = [problem for row in rows for problem in row.problems]
    assert not problems, "\n".join(problems)
