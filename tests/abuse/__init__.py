"""A fuzzer: damaged and hostile input for every command. `python -m tests.abuse --help` tells more."""
