"""Damaged and hostile input is refused in a sentence, or gives the right result: the fuzzer, for two minutes.

`python -m tests.abuse --inputs 20000 --seed 7` is the same for longer.
"""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowvocoder.config import override
from flowvocoder.errors import ConfigError, one_line
from flowvocoder.presets import PRESETS, preset
from flowvocoder.settings import leaves
from flowvocoder.voice_card import VoiceCard
from tests.abuse.supervisor import fuzz, table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer measures memory as Linux tells it")
def test_a_thousand_inputs() -> None:
    rows, faults = fuzz(1000, seed=0)
    print("\n".join(table(rows)))
    assert not faults
    assert len(rows) == 16 and all(row.inputs for row in rows.values())


@pytest.mark.slow
@given(st.sampled_from(sorted(PRESETS)), st.data(), st.text() | JSON.map(str))
def test_a_setting_of_any_text(name: str, data: st.DataObject, text: str) -> None:
    key = data.draw(st.sampled_from([leaf.path for leaf in leaves(preset(name))]) | st.text())
    try:
        override(preset(name), [f"{key}={text}"])
    except ConfigError as error:
        assert one_line(str(error)).isprintable()


@given(st.dictionaries(st.sampled_from(["temperature", "step", "postfilter", "hours", "metrics", "extra", "x"]), JSON))
@settings(max_examples=50)
def test_a_card_of_any_json(values: dict[str, object]) -> None:
    try:
        card = VoiceCard.from_dict(values)
    except ConfigError as error:
        assert one_line(str(error)).isprintable()
    else:
        assert VoiceCard.from_dict(card.to_dict()) == card
