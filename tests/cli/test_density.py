"""`density fit`, `score` and `sample`: what they write, and what they refuse."""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from command import refused, run
from scipy import stats

from flowvocoder.density import FlowDensity

QUICK = ("--family", "realnvp", "--layers", 2, "--hidden", 8, "--steps", 5)
FITTED = (*QUICK[:-1], 200, "--lr", 0.03)


def frame(n: int = 200) -> pd.DataFrame:
    """Two correlated columns, one of text, and one that shifts the others."""
    rng = np.random.default_rng(0)
    shift = rng.uniform(-5, 5, n)
    height = 10 + shift + rng.standard_normal(n)
    weight = 3 * height + rng.standard_normal(n)
    return pd.DataFrame({"height": height, "species": "iris", "weight": weight, "shift": shift})


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "data.csv"
    frame().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(csv: Path) -> Path:
    """Of height and weight."""
    out = csv.parent / "density"
    assert run("density", "fit", csv, "--out", out, "--columns", "weight,height", *FITTED) == 0
    return out


@pytest.fixture(scope="module")
def conditional(csv: Path) -> Path:
    """Of height and weight given the shift."""
    out = csv.parent / "conditional"
    assert run("density", "fit", csv, "--out", out, "--columns", "height,weight", "--context", "shift", *FITTED) == 0
    return out


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints."""
    capsys.readouterr()
    assert run("density", *arguments) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


@pytest.mark.slow
def test_score_gives_the_nats_that_python_gives(csv: Path, fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "score", fitted, csv, "--json"))
    nats = FlowDensity.load(fitted).score_samples(frame()[["weight", "height"]])
    assert np.allclose(found["nats"], nats, atol=1e-4)
    assert math.isclose(found["mean_nats"], np.mean(found["nats"]))
    assert math.isclose(found["bits_per_dimension"], -found["mean_nats"] / 2 / math.log(2))
    line = said(capsys, "score", fitted, csv)
    assert f"200 rows, mean {found['mean_nats']:.4f} nats, {found['bits_per_dimension']:.4f} bits per dim" in line


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet", "npy", "npz"])
def test_samples_have_the_columns_of_the_data(fitted: Path, tmp_path: Path, suffix: str, capsys: Any) -> None:
    out = tmp_path / f"new.{suffix}"
    assert said(capsys, "sample", fitted, "-n", 500, out, "--seed", 1) == f"{out}: 500 rows\n"
    if suffix in ("npy", "npz"):
        values = np.load(out) if suffix == "npy" else np.load(out)["X"]
    else:
        table = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
        assert list(table.columns) == ["weight", "height"]
        values = table.to_numpy()
    assert values.shape == (500, 2)
    assert abs(stats.pearsonr(*values.T)[0]) > 0.8 and abs(values[:, 1].mean() - 10) < 1


@pytest.mark.slow
def test_the_same_seed_draws_the_same_rows(fitted: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2**63 - 1)):
        assert run("density", "sample", fitted, tmp_path / f"{name}.csv", "-n", 5, "--seed", seed) == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_text() for name in "abc")
    assert a == b != c


@pytest.mark.slow
def test_a_parquet_file_scores_as_the_csv(
    csv: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame().to_parquet(tmp_path / "data.parquet")
    one, other = (json.loads(said(capsys, "score", fitted, d, "--json")) for d in (csv, tmp_path / "data.parquet"))
    assert np.allclose(one["nats"], other["nats"])


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_columns_without_names_are_numbered(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, new = tmp_path / f"data.{suffix}", tmp_path / "density", tmp_path / "new.csv"
    numbers = frame()[["height", "weight", "shift"]].to_numpy()
    if suffix == "npy":
        np.save(data, numbers)
    elif suffix == "npz":
        np.savez(data, X=numbers, other=numbers)
    else:
        np.savetxt(data, numbers, delimiter=",")
    assert run("density", "fit", data, "--out", out, "--context", "1", *QUICK) == 0
    assert len(json.loads(said(capsys, "score", out, data, "--json"))["nats"]) == 200
    assert run("density", "sample", out, new, "-n", 3, "--given", "1=30") == 0
    assert np.loadtxt(new, delimiter=",").shape == (3, 2)


@pytest.mark.slow
def test_a_context_is_given_by_its_name(
    csv: Path, conditional: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    means = []
    for shift in (-5, 5):
        assert run("density", "sample", conditional, tmp_path / "new.csv", "--given", f"shift={shift}") == 0
        means.append(pd.read_csv(tmp_path / "new.csv")["height"].mean())
    assert means[1] > means[0] + 3
    with_it, without = (json.loads(said(capsys, "score", d, csv, "--json"))["mean_nats"] for d in (conditional, fitted))
    assert with_it > without + 0.2
    for given in ((), ("--given", "weight=1"), ("--given", "shift=1", "--given", "weight=1")):
        line = refused(capsys, "density", "sample", conditional, tmp_path / "no.csv", *given)
        assert line.endswith("this density needs shift")
    assert not (tmp_path / "no.csv").exists()
    assert "it has no context" in refused(capsys, "density", "sample", fitted, tmp_path / "no.csv", "--given", "a=1")


@pytest.mark.slow
def test_fit_says_the_held_out_nats_and_plots(csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "density", tmp_path / "pairs.png"
    line = said(capsys, "fit", csv, "--out", out, "--columns", "weight,height", "--plot", plot, *QUICK)
    assert line.startswith(f"{out}: realnvp, 200 rows, 5 steps: -") and line.endswith("bits per dimension\n")
    image = matplotlib.image.imread(plot)
    assert image.shape[:2] == (440, 600) and image.std() > 0.01
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]


def test_rows_that_miss_a_value_are_counted_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "holes.csv", tmp_path / "density"
    table = frame()[["height", "weight"]]
    table.loc[3, "height"], table.loc[5, "weight"], table.loc[9] = np.nan, np.inf, np.nan
    table.to_csv(data, index=False)
    line = refused(capsys, "density", "fit", data, "--out", out, *QUICK)
    bad = "values that are missing, NaN, infinite or beyond 1e+150"
    assert f"{data}: 3 of 200 rows have {bad}, the first in row 4 without the header, column 'height'" in line
    constant = write(tmp_path / "constant.csv", "a,b\n" + "1,5\n2,5\n" * 10)
    assert f"{constant}: column 1 of X is constant (5)" in refused(
        capsys, "density", "fit", constant, "--out", out, *QUICK
    )
    assert not out.exists()
    assert run("density", "fit", data, "--out", out, "--skip-bad", *QUICK) == 0
    outputs = capsys.readouterr()
    assert f"{data}: 3 of 200 rows left out" in outputs.err and "197 rows" in outputs.out


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "", "holds no rows"),
        ("a.csv", "x,y\n", "holds no rows"),
        ("a.csv", "x,y\n1,2\n3\n", "line 3 has 1 values, expected 2"),
        ("a.csv", "x,y\n1,2\n3,red\n", "column 'y' is not numeric: it has 'red' in line 3"),
        ("a.csv", "x,x\n1,2\n", "several columns are called 'x'"),
        ("a.csv", b"\xff\xfe\x00x", "not a CSV file"),
        ("a.csv", 'x\n"1', "not a CSV file"),
        ("a.npy", "rubbish", "not a .npy file of numbers"),
        ("a.npz", "rubbish", "not an .npz file of numbers"),
        ("a.parquet", "rubbish", "not a Parquet file"),
        ("a.txt", "1 2", "unknown kind of table: use .csv, .npy, .npz, .parquet"),
        ("a.csv", "x,y\n" + "1,2\n" * 9, "of X is constant (1)"),
        ("a.csv", "1,2\n3,4\n", "minimum of 8 is required"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(
    name: str, content: bytes | str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "density", "fit", write(tmp_path / name, content), "--out", tmp_path / "out", *QUICK)
    assert problem in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def test_arrays_of_objects_and_of_three_dimensions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("objects.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    assert "holds pickled Python objects, which are not read" in refused(
        capsys, "density", "fit", "objects.npy", "--out", "out"
    )
    assert not Path("harm").exists()
    np.save("cube.npy", np.zeros((2, 3, 4)))
    assert "has shape (2, 3, 4), expected rows and columns" in refused(
        capsys, "density", "fit", "cube.npy", "--out", "out"
    )
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(3))
    assert "expected one array, or one called X; there are 2" in refused(
        capsys, "density", "fit", "two.npz", "--out", "out"
    )


def test_too_large_a_table_is_refused_before_it_is_read(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flowvocoder.density.tables.MOST_VALUES", 100)
    frame().to_parquet(tmp_path / "data.parquet")
    for data in (csv, tmp_path / "data.parquet"):
        line = refused(capsys, "density", "fit", data, "--out", tmp_path / "out", "--columns", "height")
        assert "holds more than the 100 values that are read" in line


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "column 'species' is not numeric: it has 'iris' in line 2"),
        (("--columns", "height,age"), "has no column 'age': there are height, species, weight, shift"),
        (("--columns", "height", "--context", "age"), "has no column 'age'"),
        (("--columns", "height", "--context", "height"), "column 'height' is in --columns and in --context"),
        (("--columns", "height,height"), "must be different names with commas between"),
        (("--columns", "height", "--family", "none"), "invalid choice: 'none'"),
        (("--columns", "height", "--layers", "0"), "layers must be from 1"),
        (("--columns", "height", "--shape", "1,8,8"), "shape is for images, which nsf-c cannot fit"),
        (("--columns", "height", "--plot", "plot.jpg"), "must end in .png"),
        (("--columns", "height", "--device", "tpu"), "--device tpu"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: tuple[str, ...], problem: str, csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem in refused(capsys, "density", "fit", csv, "--out", tmp_path / "out", *options)
    assert not list(tmp_path.iterdir())


def test_a_parquet_column_of_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame().to_parquet(tmp_path / "data.parquet")
    line = refused(capsys, "density", "fit", tmp_path / "data.parquet", "--out", tmp_path / "out")
    assert "column 'species' is not numeric: it holds" in line


def test_a_folder_that_holds_something_else_is_not_replaced(
    csv: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "letter.txt", "dear")
    line = refused(capsys, "density", "fit", csv, "--out", tmp_path, "--columns", "height", *QUICK)
    assert "holds letter.txt, and so is not replaced" in line
    assert (tmp_path / "letter.txt").read_text() == "dear"
    assert run("density", "fit", csv, "--out", fitted, "--columns", "weight,height", *QUICK) == 0


def test_a_density_of_other_columns_or_none_at_all_is_refused(
    csv: Path, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other.csv", "height,length\n1,2\n")
    assert "has no column 'weight'" in refused(capsys, "density", "score", fitted, other)
    assert "no such file" in refused(capsys, "density", "score", fitted, tmp_path / "none.csv")
    assert "not a density" in refused(capsys, "density", "score", tmp_path, csv)
    assert "name must end in" in refused(capsys, "density", "sample", fitted, tmp_path / "out.txt")
    assert "must be 1 or above" in refused(capsys, "density", "sample", fitted, tmp_path / "out.csv", "-n", 0)
