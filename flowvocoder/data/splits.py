"""Which utterances are held out: the one place that decides it."""

import functools
import hashlib
from collections.abc import Collection, Iterable

TRAIN, VALIDATION, TEST, UNSEEN = SPLITS = ("train", "validation", "test", "unseen")
"""`unseen` holds whole speakers that no other split has; `test` is a corpus's own, where it publishes one."""

HELD_OUT_SHARE = 40
"""One utterance in 40 is held out for validation."""

UNSEEN_SHARE = 20
"""One speaker in 20 is held out as a whole, but at least one ..."""

UNSEEN_FROM = 3
"""... of three speakers or more: of two, one would be half the corpus."""


def hash_of(name: str) -> int:
    """The first 8 bytes of SHA-256: what splits and orders go by, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def is_held_out(utterance_id: str) -> bool:
    """Whether an utterance is for validation: by a hash of its id, so the same whatever else the corpus holds."""
    return hash_of(utterance_id) % HELD_OUT_SHARE == 0


def choose_split(utterance_id: str, speaker: str = "", speakers: Collection[str] | None = None) -> str:
    """`unseen`, `validation` or `train`, for a corpus without an official split.

    Args:
        utterance_id: decides between validation (one in 40) and training.
        speaker: of this utterance.
        speakers: all of the corpus (best a frozenset). Of three or more, those that `unseen_speakers` chooses are
            held out.
    """
    if speakers is not None and speaker in unseen_speakers(frozenset(speakers)):
        return UNSEEN
    return VALIDATION if is_held_out(utterance_id) else TRAIN


@functools.lru_cache(maxsize=8)
def unseen_speakers(speakers: frozenset[str]) -> frozenset[str]:
    """Speakers to hold out: one in 20 by hash, one at least, none of fewer than three."""
    if len(speakers) < UNSEEN_FROM:
        return frozenset()
    chosen = {s for s in speakers if hash_of(s) % UNSEEN_SHARE == 0}
    return frozenset(chosen or {min(speakers, key=hash_of)})


def hold_out_one(splits: Iterable[str], hashes: Iterable[int]) -> int | None:
    """Where nothing is held out: the training utterance to hold out, the one of the smallest hash.

    Args:
        splits: of all utterances.
        hashes: of their ids (`hash_of`).

    Returns:
        Its place; None where validation has an utterance, or training fewer than two.
    """
    chosen, smallest, training = None, 2**64, 0
    for place, (split, key) in enumerate(zip(splits, hashes, strict=True)):
        if split == VALIDATION:
            return None
        if split == TRAIN:
            training += 1
            if key < smallest:
                chosen, smallest = place, key
    return chosen if training > 1 else None
