"""Which utterances are held out: choices that must never change, or a run would validate on what it trained on."""

from collections import Counter
from pathlib import Path

import pytest

from flowvocoder.data.corpus import Utterance, split
from flowvocoder.data.splits import TEST, TRAIN, UNSEEN, VALIDATION, choose_split, hash_of, hold_out_one

IDS = [f"toy/{n:04d}" for n in range(1000)]

HELD_OUT = [39, 65, 86, 256, 270, 320, 381, 426, 448, 464, 478, 509, 524, 533, 551, 727, 774, 790, 821, 863, 869, 890,
            902, 909, 992]  # fmt: skip
"""Numbers of the ids that version 0.1 held out."""


def test_the_choice_by_hash_is_that_of_every_release() -> None:
    assert hash_of("toy/0000") == 0x2296FD79AEACD70D
    held_out = [i for i in IDS if choose_split(i) == VALIDATION]
    assert held_out == [f"toy/{n:04d}" for n in HELD_OUT]
    assert Counter(choose_split(i, f"s{n % 40}", [f"s{n}" for n in range(40)]) for n, i in enumerate(IDS)) == {
        TRAIN: 901,
        UNSEEN: 75,
        VALIDATION: 24,
    }


@pytest.mark.parametrize(
    ("splits", "hashes", "chosen"),
    [
        ([TRAIN, TRAIN, TRAIN], [5, 3, 9], 1),
        ([TEST, TRAIN, TRAIN], [1, 3, 2], 2),
        ([TRAIN, VALIDATION, TRAIN], [1, 2, 3], None),
        ([TRAIN, TEST], [1, 2], None),
        ([], [], None),
        ([TRAIN, TRAIN], [4, 4], 0),
    ],
)
def test_one_is_held_out_where_none_is(splits: list[str], hashes: list[int], chosen: int | None) -> None:
    assert hold_out_one(splits, hashes) == chosen


def test_a_corpus_splits_as_it_did() -> None:
    utterances = [Utterance(i, Path(i)) for i in IDS]
    training, held_out, _ = split(utterances)
    assert [int(u.id[4:]) for u in held_out] == HELD_OUT
    assert len(training) + len(held_out) == len(IDS)
    assert [u.id for u in split(utterances[:3])[1]] == ["toy/0000"]
