"""What text may be said in one go. Plain data."""

from flowvocoder.errors import ConfigError

MOST_CHARACTERS = 4096
"""Of a text in one go: five minutes of speech."""

SLOWEST, FASTEST = 0.5, 2.0
"""Speaking rates; 1 is the model's own."""


def checked_text(text: str, speed: float) -> str:
    """Text without what surrounds it. Raises ConfigError: there is none, or too much, or the speed is impossible."""
    text = text.strip()
    if not text:
        raise ConfigError("there is no text to say")
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"the text has {len(text)} characters, {MOST_CHARACTERS} are said in one go")
    if not SLOWEST <= speed <= FASTEST:
        raise ConfigError(f"the speed must be from {SLOWEST:g} to {FASTEST:g}, not {speed:g}")
    return text
