"""Work shared among the nodes of a Ray cluster, one of which is killed: what comes out is what one machine gives."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from command import run
from deadly import pid_or_die
from helpers import speech_like

from flowvocoder import cluster as on_cluster
from flowvocoder.cli import processes
from flowvocoder.cluster import cluster_map, in_order
from flowvocoder.evaluation import work
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.parallel import Crashed

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

Kill = Callable[[], None]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[tuple[str, Callable[[], Kill]]]:
    """The address of a cluster, and what adds a node to its first one; that gives what kills it."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}  # as `ray_cluster` does, later
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})

    def added() -> Kill:
        node = cluster.add_node(**small)
        cluster.wait_for_nodes()
        return lambda: cluster.remove_node(node, allow_graceful=False)

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster.address, added
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_no_cluster_at_an_address_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    with pytest.raises(on_cluster.ConfigError, match="no Ray cluster to be reached"):
        list(cluster_map(noted, [tmp_path / "1"], "127.0.0.1:1", 1))


def killing(kill: Kill, killed: list[int], after: int = 1) -> Callable[..., Iterator[tuple[int, Any]]]:
    """`cluster_map` that loses a node when so many results are there."""

    def results(*arguments: Any) -> Iterator[tuple[int, Any]]:
        for number, result in enumerate(cluster_map(*arguments), 1):
            if number == after:
                kill()
                killed.append(number)
            yield result

    return results


def noted(item: Path) -> int:
    """What the item's name says, a fifth of a second later; the file notes each time that it was asked for."""
    with item.open("a") as file:
        file.write("x")
    time.sleep(0.2)
    return int(item.name)


def test_a_lost_node_costs_what_it_had_in_hand(two_nodes: tuple[str, Callable[[], Kill]], tmp_path: Path) -> None:
    address, added = two_nodes
    items = [tmp_path / str(number) for number in range(40)]
    killed: list[int] = []
    results = list(in_order(killing(added(), killed, 12)(noted, items, address, 1)))
    assert killed and results == list(range(40))
    again = [item.name for item in items if item.stat().st_size > 1]
    assert len(again) <= 2, f"done more than once: {again}"


def test_an_item_that_kills_every_worker_is_named_and_the_others_are_done(
    two_nodes: tuple[str, Callable[[], Kill]], capsys: pytest.CaptureFixture[str]
) -> None:
    results = dict(cluster_map(pid_or_die, range(10, 16), two_nodes[0], 2))
    assert results.pop(3) == Crashed(13)
    assert [results[place][0] for place in sorted(results)] == [10, 11, 12, 14, 15]  # type: ignore[index]
    assert "Ray gave up" in capsys.readouterr().err


def test_commands_give_the_same_although_a_node_is_killed(
    two_nodes: tuple[str, Callable[[], Kill]],
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, added = two_nodes
    monkeypatch.chdir(tmp_path)  # relative paths are those of this process
    mel = MelFrontEnd(convention("tacotron2"))(torch.from_numpy(speech_like(2.0, 22050)).float())
    for folder in ("mels", "recordings"):
        (tmp_path / folder).mkdir()
    for number in range(12):
        np.save(tmp_path / f"mels/{number}.npy", mel[:, number:])
        sf.write(tmp_path / f"recordings/{number}.wav", speech_like(0.6 + number / 50, 22050), 22050)
    np.save(tmp_path / "mels/bad.npy", np.zeros(3))
    (tmp_path / "recordings/bad.wav").write_bytes(b"RIFF")
    voice = ["--checkpoint", checkpoint]

    def both(*command: object, code: int = 2) -> str:
        """The same printed here and there, but for where it was written; a node is lost in between."""
        killed: list[int] = []
        kill = added()
        for room in (processes, work):
            monkeypatch.setattr(room, "cluster_map", killing(kill, killed))
        words = [str(word) for word in command]
        assert run(*(word.replace("OUT", "far") for word in words), "--cluster", address) == code
        assert killed, "no node was killed"
        far = capsys.readouterr()
        assert run(*(word.replace("OUT", "here") for word in words)) == code
        here = capsys.readouterr()
        if code:
            assert "bad" in far.err and far.err.count("bad.") == here.err.count("bad.")
        assert far.out.replace("far", "here") == here.out
        return here.out

    assert "12 written to here, 1 refused" in both("synth", "mels", "OUT", *voice)
    far, here = ({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("far", "here"))
    assert far == here and len(far) == 12
    assert both("score", "recordings", *voice).count("nats/sample") == 13
    assert len(json.loads(both("anomaly", "score", "recordings", "--json"))) == 12

    killed: list[int] = []
    monkeypatch.setattr(work, "cluster_map", killing(added(), killed))
    measured = {}
    for name, more in {"far-e": ["--cluster", address], "here-e": []}.items():
        command = ["evaluate", checkpoint, "--corpus", corpus, "--all", "--limit", 6, "--jobs", 1, "--out", name]
        assert run(*command, *more) == 0
        measured[name] = json.loads((tmp_path / name / "results.json").read_text())["utterances"]
        assert len(measured[name]) == 6 and measured[name][0]["values"].pop("x_realtime") > 0.0
        for row in measured[name]:
            row["values"].pop("x_realtime", None)
    assert killed
    for far_row, here_row in zip(measured["far-e"], measured["here-e"], strict=True):
        values = pytest.approx(far_row.pop("values"), rel=1e-9)  # sums of NumPy differ in the last bit now and then
        assert here_row.pop("values") == values and here_row == far_row
