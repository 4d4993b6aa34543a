"""Table of posteriors by family, on the problems of `tests/density/test_posterior.py`, whose answers are known.

python docs/scripts/posterior.py [--families NAME ...] [--problems regression schools]
"""

import argparse
import runpy
from pathlib import Path

from flowvocoder.density import fit_posterior

FAMILIES = ("planar", "radial", "sylvester", "iaf", "realnvp", "nsf-c")
BUDGET = {"batch": 64, "lr": 3e-2}


def main() -> None:
    """Prints a row for each family and problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--problems", nargs="+", default=["regression", "schools"], choices=["regression", "schools"])
    given = parser.parse_args()
    tests = runpy.run_path(str(Path(__file__).parents[2] / "tests" / "density" / "test_posterior.py"))
    known = tests["regression"]()
    problems = {
        "regression": (known.log_density, known.evidence,
                       {"dims": 3, "layers": 2, "hidden": 8, "steps": 200, "location": [1.0, 2.0, -1.0], "scale": 0.2}),
        "schools": (tests["eight_schools"], tests["eight_schools_by_quadrature"]()[2],
                    {"dims": 10, "layers": 4, "hidden": 16, "steps": 1000, "lr": 1e-2, "batch": 256}),
    }  # fmt: skip
    print("| problem | family | log-evidence less ELBO | k-hat | effective draws of 4000 | error of log-evidence |")
    print("|---|---|---|---|---|---|")
    for problem in given.problems:
        log_density, evidence, options = problems[problem]
        for family in given.families:
            posterior = fit_posterior(log_density, family=family, **{**BUDGET, **options})
            found = posterior.importance(random_state=1)
            weights = f"{found.k_hat:.2f} | {found.effective_sample_size:.0f} | {found.log_evidence - evidence:+.3f}"
            print(f"| {problem} | `{family}` | {evidence - posterior.elbo:.3f} | {weights} |", flush=True)


if __name__ == "__main__":
    main()
