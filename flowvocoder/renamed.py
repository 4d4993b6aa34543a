"""Names that changed: an old one works for one release and says the new one."""

import warnings


class RenamedWarning(FutureWarning):
    """An old name was used. The command line prints it as one line on standard error."""


def say_renamed(old: str, new: str) -> None:
    """Warn that `old` works for this release only, and name `new`."""
    warnings.warn(f"{old} is now {new}; the old name goes in the next release", RenamedWarning, stacklevel=3)
