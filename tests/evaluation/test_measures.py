"""How measures are registered, and what importing them costs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowvocoder.evaluation.measures import MEASURES, functions, names_in, registry
from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.pair import evaluate_pair

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "measures.md"


@pytest.mark.slow
def test_a_decorator_is_all_a_measure_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))

    @measure("twice", "twice the mean, V", 3, "zero", charted=True)
    @measure("once", "mean, V", 2, None)
    def twice(pair: object) -> dict[str, float]:
        return {"once": 1.5, "twice": 3.0}

    known = list(registry.registered())
    assert known.index("once") == known.index("twice") + 1, "decorators are read from above"
    assert registry.registered()["twice"].heading == "twice the mean, V → 0"
    assert known.index("nats") < known.index("quality") < known.index("pesq") < known.index("twice")
    assert known.index("twice") < known.index("x_realtime")
    tone = [0.1 * (-1) ** (n // 50) for n in range(22050)]
    assert evaluate_pair(tone, tone, 22050)["twice"] == 3.0


def test_slow_groups_are_measured_on_request_only() -> None:
    assert names_in("pyin") == {"f0_pyin_cents", "vuv_pyin"} and names_in("dnsmos") == {"dnsmos", "dnsmos_gap"}
    assert len(functions("pair", ["pyin"])) == len(functions("pair")) + 1


def test_every_measure_is_on_the_page() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    documented = {name for row in rows[1:] for name in re.findall(r"\w+", row.split("|")[1])}
    assert set(MEASURES) - documented == set()


@pytest.mark.slow
def test_importing_the_evaluation_imports_no_heavy_library() -> None:
    code = (
        "import pkgutil, importlib, sys, flowvocoder.evaluation as e, flowvocoder.audio as a\n"
        "for m in [*pkgutil.walk_packages(e.__path__, e.__name__ + '.'), *pkgutil.walk_packages(a.__path__,"
        " a.__name__ + '.')]: importlib.import_module(m.name)\n"
        "heavy = {'scipy', 'librosa', 'matplotlib', 'pesq', 'pystoi', 'pyworld', 'torchaudio', 'numba', 'vocos'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
