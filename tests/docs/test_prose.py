"""The pages are written in short sentences."""

from pathlib import Path

import pytest
from helpers import docs_script

ROOT = Path(__file__).parents[2]
MOST_WORDS = 30
"""Nine sentences of ten have no more words than this."""

prose = docs_script("prose")


@pytest.mark.parametrize("page", prose.pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nine_sentences_of_ten_are_short(page: Path) -> None:
    count, _, ninth_tenth, longest = prose.statistics(page.read_text(encoding="utf-8"))
    assert count == 0 or ninth_tenth <= MOST_WORDS, f"90th percentile {ninth_tenth:.0f} words, longest {longest}"


def test_sentences_of_paragraphs_lists_and_long_cells_are_counted() -> None:
    text = "\n".join([
        "# A heading is none",
        "One two `code with words`. Three",
        "[a link](x.md) five.",
        "- An item that is one.",
        "| short | a cell of a table with ten words or more is prose |",
        "```sh",
        "no sentence here.",
        "```",
    ])  # fmt: skip
    assert [prose.length(s) for s in prose.sentences(text)] == [3, 4, 5, 12]
