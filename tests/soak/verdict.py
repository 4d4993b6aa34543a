"""Whether memory is flat, and the table."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tests.soak.parts import Part

WARM = 0.25
"""Part of the time that does not count: caches fill, and allocators find their size."""

GROWTH = 0.05
"""Memory is flat if the straight line through the rest rises by less than this part of its mean."""


@dataclasses.dataclass
class Memory:
    """Resident megabytes over seconds."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    megabytes: list[float] = dataclasses.field(default_factory=list)

    def add(self, seconds: float, megabytes: float) -> None:
        self.seconds.append(seconds)
        self.megabytes.append(megabytes)

    @property
    def slope(self) -> float:
        """Megabytes an hour, by least squares, after the warm-up."""
        return 3600.0 * float(np.polyfit(*self._settled(), 1)[0])

    @property
    def is_flat(self) -> bool:
        """By `GROWTH`; falling is flat too."""
        seconds, megabytes = self._settled()
        return self.slope / 3600.0 * (seconds[-1] - seconds[0]) < GROWTH * megabytes.mean()

    def at(self, share: float) -> float:
        """Megabytes after a share of the time."""
        return self.megabytes[round(share * (len(self.megabytes) - 1))]

    def _settled(self) -> tuple[np.ndarray, np.ndarray]:
        seconds, megabytes = np.array(self.seconds), np.array(self.megabytes)
        late = seconds >= WARM * seconds[-1]
        return seconds[late], megabytes[late]


def table(parts: Sequence[Part], memory: Mapping[str, Memory]) -> str:
    """Of all parts, in Markdown."""
    heading = ("part", "checked", "wrong", "MB after 10 %", "25 %", "50 %", "75 %", "100 %", "peak", "slope, MB/h")
    lines = [heading, ["---"] * len(heading)]
    for part in parts:
        seen = memory[part.name]
        marks = [f"{seen.at(share):.0f}" for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
        peak = f"{max(seen.megabytes):.0f}"
        lines.append((part.name, part.checked, len(part.problems), *marks, peak, f"{seen.slope:+.1f}"))
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
