"""A conversion from beginning to end: what is there already, the engine, the index."""

import dataclasses
import functools
import json
import time
from pathlib import Path
from typing import Any

from flowvocoder.data.shards import INDEX, PLAN
from flowvocoder.errors import ConfigError, DataError
from flowvocoder.files import read_json, writing
from flowvocoder.prepare.engines import write_shards
from flowvocoder.prepare.plan import Plan
from flowvocoder.prepare.shard import is_done, write_shard
from flowvocoder.progress import progress

SKIPPED = "skipped.jsonl"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a run did and what stands in the folder now."""

    utterances: int
    samples: int
    skipped: int
    shards: int
    found: int  # shards that stood there before
    source_seconds: float  # of audio converted by this run
    wall_seconds: float
    cpu_seconds: float

    @property
    def per_core(self) -> float:
        """Seconds of audio converted in a second of one core."""
        return self.source_seconds / max(self.cpu_seconds, 1e-9)


def prepare(plan: Plan, out: Path, jobs: int = 1, device: str = "cpu", ray_address: str | None = None) -> Summary:
    """Write the shards of `plan` that are not in `out` yet, then the index.

    Killed at any point and run again, it leaves the same bytes as a run without interruption.

    Args:
        ray_address: of a cluster; "local" for one on this machine; None does without Ray.

    Raises:
        ConfigError: `out` holds something else, or Ray is not there.
        DataError: the manifest has changed meanwhile, or not one utterance could be converted.
        OutputError: something cannot be written.
    """
    started = time.perf_counter()
    _claim(out, plan)
    todo = [shard for shard in plan.shards if not is_done(out, shard)]
    # Workers are sent the plan without its shards: each gets only its own.
    alone = dataclasses.replace(plan, manifest=plan.manifest.resolve(), shards=())
    write = functools.partial(write_shard, plan=alone, out=out.resolve(), device=device)
    source = cpu = 0.0
    for done in progress(write_shards(write, todo, jobs, ray_address) if todo else (), "prepare", "shard", len(todo)):
        source, cpu = source + done.source_seconds, cpu + done.cpu_seconds
    index = _write_index(out, plan)
    if not index["utterances"]:
        raise DataError(f"{out / SKIPPED}: none of {index['skipped']} utterances could be converted, here is why")
    return Summary(
        index["utterances"], index["samples"], index["skipped"], len(plan.shards), len(plan.shards) - len(todo),
        source, time.perf_counter() - started, cpu,
    )  # fmt: skip


def _claim(out: Path, plan: Plan) -> None:
    """Start in an empty folder, or continue in one of the same plan."""
    path, expected = out / PLAN, plan.identity()
    if path.exists():
        found = read_json(path, DataError)
        if found != expected:
            raise ConfigError(
                f"{out}: was started with another plan ({_difference(found, expected)}): name another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(p for p in out.iterdir() if not p.name.startswith(f".{path.stem}."))):
        raise ConfigError(f"{out}: is there already and holds something else: name another folder")
    with writing(path) as temporary:
        temporary.write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    ours, theirs = ({**plan, **plan.get("settings", {})} for plan in (expected, found))
    ours.pop("settings", None)
    return "; ".join(
        f"{k} {str(theirs.get(k))[:20]}, not {str(ours[k])[:20]}" for k in ours if ours[k] != theirs.get(k)
    )


def _write_index(out: Path, plan: Plan) -> dict[str, Any]:
    shards, skipped = [], 0
    with writing(out / SKIPPED) as temporary, temporary.open("w", encoding="utf-8") as file:
        for shard in plan.shards:
            about = read_json(out / f"{shard.name}.json", DataError)
            for utterance in about["skipped"]:
                skipped += 1
                file.write(json.dumps(utterance, ensure_ascii=False) + "\n")
            shards.append({k: about[k] for k in ("name", "split", "utterances", "samples", "bytes", "sha256")})
    identity = plan.identity()
    index: dict[str, Any] = {
        "format": identity.pop("format"),
        "utterances": sum(s["utterances"] for s in shards),
        "samples": sum(s["samples"] for s in shards),
        "minutes": round(sum(s["samples"] for s in shards) / plan.settings.rate / 60.0, 3),
        "skipped": skipped,
        **identity,
        "shards": shards,
    }
    with writing(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return index
