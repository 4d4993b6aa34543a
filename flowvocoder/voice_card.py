"""What is known about a voice: the part of a checkpoint that describes it. Plain data, no torch."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowvocoder.errors import ConfigError
from flowvocoder.postfilter.settings import PostfilterSettings

VOICES = Path(__file__).parent / "voices"
BUNDLED_VOICE = VOICES / "universal-22k"
"""The default: the voice that is used where none is named."""

BUNDLED = "bundled"
"""Another name for it, wherever a checkpoint is asked for."""

DEFAULT_TEMPERATURE = 0.8


def added_voices() -> Path:
    """The folder of the voices that `voices add` keeps for this user."""
    # Where nobody knows the user's home, as in some containers, this is the path as it stands, and Path.home an error.
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return Path(data) / "flowvocoder" / "voices"


def voices() -> dict[str, Path]:
    """The folders of voices by name: the package's, the default first, then those that were added."""
    own = sorted(VOICES.iterdir(), key=lambda folder: (folder != BUNDLED_VOICE, folder.name))
    added: list[Path] = []
    with contextlib.suppress(OSError):  # there is none, or it may not be read
        added = sorted(added_voices().iterdir())
    return {folder.name: folder for folder in (*own, *added) if (folder / "config.json").is_file()}


def checkpoint_folder(name: str | Path) -> Path:
    """A checkpoint's folder: of the voice of that name, or as it stands (`./bundled` is always a folder)."""
    return {BUNDLED: BUNDLED_VOICE, **voices()}.get(str(name), Path(name)) if isinstance(name, str) else name


def voice_name(folder: Path) -> str | None:
    """The name of the voice in a folder; None where `voices` does not list it."""
    return next((name for name, known in voices().items() if known == folder), None)


@dataclasses.dataclass(frozen=True)
class VoiceCard:
    """Origin, licence and tuned settings of a voice; None where unknown.

    Attributes:
        licence: of the weights.
        training_data: names of the corpora.
        training_minutes: of audio in them.
        languages: that it was trained on, as ISO 639-1 codes, and speakers: how many.
        step: of training, and hours: that it took.
        temperature: standard deviation of the noise in synthesis that the voice was tuned for.
        postfilter: iterations after the flow that the voice was tuned for.
        metrics: by name, such as "nats".
        source, layout: file and kind of a published checkpoint that the voice was imported from.
        extra: whatever else the file says, JSON values.

    Raises:
        ConfigError: a temperature below 0, or not finite.

    Example:
        >>> VoiceCard(licence="CC0-1.0", postfilter=PostfilterSettings(gl_iters=4)).temperature
        0.8
    """

    name: str | None = None
    licence: str = "unknown"
    training_data: tuple[str, ...] = ()
    training_minutes: float | None = None
    languages: tuple[str, ...] = ()
    speakers: int | None = None
    step: int | None = None
    hours: float | None = None
    temperature: float = DEFAULT_TEMPERATURE
    postfilter: PostfilterSettings = dataclasses.field(default_factory=PostfilterSettings)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    source: str | None = None
    layout: str | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise ConfigError(f"card.temperature must be 0 or above, not {self.temperature}")

    @property
    def sampling(self) -> dict[str, Any]:
        """How the voice speaks, in the names of `config.SamplingSettings`."""
        iterations = {"gl_iters": self.postfilter.gl_iters, "low_band_iters": self.postfilter.low_band_iters}
        return {"temperature": self.temperature, **iterations}

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is unknown is left out."""
        values: dict[str, Any] = dataclasses.asdict(self)
        values |= {key: list(value) for key, value in values.items() if isinstance(value, tuple)}
        # What streams run beside these is left out, as it is by every voice so far: older programs do not know it.
        known = {"gl_iters", "low_band_iters"}
        values["postfilter"] = {name: n for name, n in values["postfilter"].items() if n or name in known}
        return {key: value for key, value in values.items() if value not in (None, {}, [])}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VoiceCard":
        """The inverse of `to_dict`. Unknown keys go into `extra`.

        Raises:
            ConfigError: a value of the wrong type.
        """
        known = {key: value for key, value in values.items() if key in TYPES}
        for key, value in known.items():
            if not fits(key, value):
                raise ConfigError(f"card.{key} has the wrong type: {repr(value)[:40]}")
        unknown = {key: value for key, value in values.items() if key not in TYPES}
        known["extra"] = {**known.get("extra", {}), **unknown}
        known |= {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
        try:
            known["postfilter"] = PostfilterSettings(**known.get("postfilter", {}))
        except TypeError as error:
            raise ConfigError(f"card.postfilter has an unknown key ({error})") from error
        return cls(**known)


TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,), "licence": (str,), "training_data": (list,), "training_minutes": (int, float), "languages": (list,),
    "speakers": (int,), "step": (int,), "hours": (int, float), "temperature": (int, float), "postfilter": (dict,),
    "metrics": (dict,), "source": (str,), "layout": (str,), "extra": (dict,),
}  # fmt: skip
"""Types of the JSON values by key."""


def fits(key: str, value: Any) -> bool:
    """Whether a JSON value can be that of a key: `fits("step", 3)`."""
    whole = type(value) in TYPES[key] and (type(value) is not int or abs(value) < 2**53)
    return whole and (TYPES[key] != (list,) or all(isinstance(name, str) for name in value))
