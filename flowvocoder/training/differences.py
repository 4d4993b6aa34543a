"""In which settings a resumed run differs from what it was, and which of them may differ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowvocoder.config import Experiment
from flowvocoder.errors import ConfigError
from flowvocoder.training.folder import CHECKPOINT


def difference(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """For people: "optim.lr 0.001, was 0.002; ..."."""
    ours, theirs = _flat(now), _flat(before)
    return "; ".join(f"{k} {ours[k]}, was {theirs[k]}" for k in ours if k in theirs and ours[k] != theirs[k])


def check_same_run(out: Path, now: Experiment, before: Experiment) -> None:
    """Raises ConfigError where a run has other sizes, another mel, or other networks to train than it had."""
    ours, theirs = now.to_dict(), before.to_dict()
    for part in ("model", "mel"):
        if ours[part] != theirs[part]:
            changed = difference(ours[part], theirs[part])
            raise ConfigError(f"{out}: --resume with another {part} than the run has: {changed}")
    if now.postfilter != before.postfilter:
        raise ConfigError(f"{out}: --resume with another post-filter than the run has: {ours['postfilter']},"
                          f" was {theirs['postfilter']}")  # fmt: skip
    decisive = []
    if now.train.stage != before.train.stage:
        decisive = ["stage"]
    elif now.train.losses.has_discriminators != before.train.losses.has_discriminators:
        decisive = ["losses.adversarial", "losses.features"]
    is_, was = _flat(ours["train"]), _flat(theirs["train"])
    for name in decisive:
        if is_[name] != was[name]:
            raise ConfigError(f"{out}: --resume with train.{name} {is_[name]}, was {was[name]}: start a run of its own"
                              f" from --init-from {out / CHECKPOINT}")  # fmt: skip


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, Mapping) else {f"{path}{name}": value}
    return flat
