"""`python -m demo`: the same as `flowvocoder demo`."""

import sys

from flowvocoder.cli.main import main

sys.exit(main(["demo", *sys.argv[1:]]))
