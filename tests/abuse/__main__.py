"""`python -m tests.abuse`: damaged and hostile input for every command, and a table of what came of it."""

import argparse
import sys
import time

from tests.abuse.supervisor import fuzz, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, metavar="N", help="how many (default 1000: a minute)")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs (default 0)")
    parser.add_argument(
        "--only", default="", metavar="FAMILY[:NUMBER]", help="one family, or one input with all it says"
    )
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="the first ones, of a run that was stopped")
    arguments = parser.parse_args()
    started = time.monotonic()
    rows, faults = fuzz(arguments.inputs, arguments.seed, arguments.only, verbose=True, skip=arguments.skip)
    print("\n".join(table(rows)))
    print(f"seed {arguments.seed}, {time.monotonic() - started:.0f} s")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
