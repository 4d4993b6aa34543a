"""How far each iteration over a band goes. Plain numbers, no torch."""

import math
from typing import NamedTuple


class Move(NamedTuple):
    """Of one iteration.

    Attributes:
        length: what its correction of a bin is times. More than 1 is over-relaxation (accelerated Griffin-Lim, Nenov
            et al. 2023).
        momentum: share of what it has changed that the next one goes on in the same direction (fast Griffin-Lim,
            Perraudin et al. 2013).
    """

    length: float
    momentum: float


LIMITS = -0.95, math.expm1(2.0)
"""By how much of itself a bin may change in a move. Without the first, long ones would turn the sign of loud bins."""

STEADY = Move(1.25, 0.9)
"""Of every iteration alike. From a length of 1.6 on, and a momentum of 1, these diverge."""

FIRST = Move(1.55, 1.06), Move(1.80, 1.25), Move(1.44, 1.11)
IN_TURNS = Move(0.94, 0.42), Move(2.41, 1.37), Move(1.36, 0.60), Move(2.30, 1.28)
LAST = Move(1.12, 0.41), Move(1.74, 0.60), Move(3.11, 1.06), Move(1.09, 0.90)


HURRIED = 28
"""Iterations up to which learned moves pay: they amplify rounding two to ten times as much as steady ones, and beyond
come hardly nearer."""


def towards_mel(count: int) -> list[Move]:
    """So many iterations over a band: learned moves where there are few, steady ones where there are many."""
    return learned(count) if count <= HURRIED else steady(count)


def steady(count: int) -> list[Move]:
    """The same move, again and again."""
    return [STEADY] * count


def learned(count: int) -> list[Move]:
    """Long and short moves in turns, with others at the start and the end.

    They were learned by gradient descent through the iterations: from samples of two flows, what is left of the mel
    error after 12 to 32 of them. So few reach what a third more steady ones do. Long steps between
    short ones are known to quicken gradient descent, too (Altschuler and Parrilo 2023, arXiv:2309.07879).

    >>> [move.length for move in learned(9)]
    [1.55, 1.8, 1.44, 0.94, 2.41, 1.12, 1.74, 3.11, 1.09]
    """
    between = max(0, count - len(FIRST) - len(LAST))
    moves = [*FIRST, *(IN_TURNS[n % len(IN_TURNS)] for n in range(between)), *LAST]
    return moves[:count] if between == 0 else moves
