"""Damaged and hostile input is refused in a sentence, or gives the right result: the fuzzer, for half a minute.

`python -m tests.abuse --inputs 20000 --seed 7` is the same for longer.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowvocoder.config import override
from flowvocoder.errors import ConfigError, one_line
from flowvocoder.presets import PRESETS, preset
from flowvocoder.settings import leaves
from flowvocoder.voice_card import VoiceCard
from tests.abuse.case import FAMILIES
from tests.abuse.supervisor import Worker, fuzz, table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)

always = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
"""The same examples on every machine, however busy."""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer measures memory as Linux tells it")
def test_hundreds_of_inputs(thorough: bool) -> None:
    rows, faults = fuzz(1000 if thorough else 130, seed=0)
    print("\n".join(table(rows)))
    assert not faults
    assert rows.keys() == FAMILIES.keys() and all(row.inputs for row in rows.values())


@pytest.mark.slow
def test_the_fuzzer_sees_what_is_run_and_touched(tmp_path: Path) -> None:
    from tests.abuse.worker import Guard

    (tmp_path / "home").mkdir()
    guard = Guard(tmp_path / "home")
    with guard:
        (tmp_path / "home" / "x").write_text("x")
    assert not guard.broken
    with guard:
        (tmp_path / "x").write_text("x")
        (tmp_path / "x").unlink()
        os.system("true")
    assert [line.split(":")[0] for line in guard.broken] == ["touched outside", "touched outside", "ran"]


def test_a_worker_that_waits_for_a_processor_is_no_hang(tmp_path: Path) -> None:
    worker = Worker(tmp_path, 0)
    for code, runnable in (("while True: pass", True), ("import time; time.sleep(600)", False)):
        program = [sys.executable, "-S", "-c", f"print(flush=True)\n{code}"]
        with subprocess.Popen(program, stdout=subprocess.PIPE) as worker.process:  # type: ignore[assignment]
            assert worker.process.stdout.readline()  # type: ignore[attr-defined]
            # Either may be seen for a moment in the other's state, on its way.
            end = time.monotonic() + 60
            while (seen := worker._used()[1]) != runnable and time.monotonic() < end:
                time.sleep(0.05)
            worker.process.kill()
            assert seen == runnable


@pytest.mark.slow
@always
@given(st.sampled_from(sorted(PRESETS)), st.data(), st.text() | JSON.map(str))
def test_a_setting_of_any_text(name: str, data: st.DataObject, text: str) -> None:
    key = data.draw(st.sampled_from([leaf.path for leaf in leaves(preset(name))]) | st.text())
    try:
        override(preset(name), [f"{key}={text}"])
    except ConfigError as error:
        assert one_line(str(error)).isprintable()


@pytest.mark.slow
@always
@given(st.dictionaries(st.sampled_from(["temperature", "step", "postfilter", "hours", "metrics", "extra", "x"]), JSON))
def test_a_card_of_any_json(values: dict[str, object]) -> None:
    try:
        card = VoiceCard.from_dict(values)
    except ConfigError as error:
        assert one_line(str(error)).isprintable()
    else:
        assert VoiceCard.from_dict(card.to_dict()) == card
