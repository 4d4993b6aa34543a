"""Random damage to bytes and to JSON, and values that nobody expects."""

import copy
import json
import random
import struct
from typing import Any

NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 7, 255, 256, 1024, 65535, 2**31 - 1, -(2**31), 2**32, 2**53, 2**63 - 1, 2**63, 10**30, 10**400,
    0.0, -0.0, 0.5, 1.5, 80.0, 1024.5, 1e-300, 1e-45, 1e-12, 1e308, -1e308, float("inf"), float("-inf"), float("nan"),
]  # fmt: skip
OTHERS: list[Any] = [
    None,
    True,
    False,
    "",
    "80",
    "x" * 5000,
    "\x1b[31mred\n",
    "../../x",
    [],
    [1],
    {},
    {"a": 1},
    [[[[]]]],
]
WORDS = [
    "", " ", "0", "1", "-1", "2", "1.5", "1e3", "1e400", "nan", "inf", "-inf", "0x10", "1_000", "9" * 30, "9" * 400,
    "9" * 5000, "[" * 3000, "[[1]]", "{}", "null", "true", "True", "'a'", "a" * 5000, "\x1b[2Jx", "a\nb", "\u202e", "é",
    "٣", "-", "--", "%s%n", "../../x", "/", ".", "bundled", "cuda", "cuda:99", "mps", "meta", "cpu:7",
]  # fmt: skip


def value(rng: random.Random) -> Any:
    """A number, or something else where a number is expected."""
    return copy.deepcopy(rng.choice(NUMBERS if rng.random() < 0.6 else OTHERS))


def damaged(rng: random.Random, content: bytes) -> bytes:
    """One to four changes, half of them near the start, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            break
        at = rng.randrange(min(len(data), rng.choice([64, 256, 10**9])))
        rng.choice(CHANGES)(rng, data, at)
    return bytes(data)


def _flip(rng: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, at: int) -> None:
    data[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])


def _number(rng: random.Random, data: bytearray, at: int) -> None:
    code = rng.choice("HIQdf")
    number = rng.choice([0, 1, 2, 255, 1000, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1])
    packed = struct.pack(
        rng.choice("<>") + code, number % 2 ** (8 * struct.calcsize(code)) if code in "HIQ" else number
    )
    data[at : at + len(packed)] = packed


def _cut(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _remove(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + rng.choice([1, 4, 100, 10_000])]


def _insert(rng: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = rng.choice([bytes([rng.randrange(256)]), rng.randbytes(40), b"\0" * 500, bytes(data[at : at + 300])])


def _zero(rng: random.Random, data: bytearray, at: int) -> None:
    end = min(len(data), at + rng.choice([4, 64, 4096]))
    data[at:end] = bytes(end - at)


CHANGES = [_flip, _flip, _byte, _byte, _number, _number, _cut, _remove, _insert, _zero]


def damaged_json(rng: random.Random, values: Any) -> Any:
    """A copy with one to three values replaced, removed, added or renamed."""
    values = copy.deepcopy(values)
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(_places(values))
        if not places:
            return value(rng)
        holder, key = rng.choice(places)
        change = rng.random()
        if change < 0.7:
            holder[key] = value(rng)
        elif change < 0.8:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(["unknown", "", "\x1b[1m", f"{key}x"])] = holder.pop(key) if change < 0.9 else value(rng)
        else:
            holder.extend([value(rng)] * 3)
    return values


def json_bytes(rng: random.Random, values: Any) -> bytes:
    """JSON of damaged values, or damaged JSON."""
    kind = rng.random()
    if kind < 0.6:
        return json.dumps(damaged_json(rng, values)).encode()
    if kind < 0.9:
        return damaged(rng, json.dumps(values).encode())
    odd = [
        b"",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"1" * 5000,
        b"null",
        b'"\\ud800"',
    ]
    return rng.choice(odd)


def _places(values: Any) -> Any:
    """(container, key) of everything in nested JSON."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, inner in items:
        yield values, key
        yield from _places(inner)
