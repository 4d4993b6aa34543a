"""Running the command line inside the test's own process."""

import pytest

from flowvocoder.cli.main import main


def run(*arguments: object) -> int:
    try:
        return main([str(a) for a in arguments])
    except SystemExit as error:  # argparse
        return int(error.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a refusal."""
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]
