"""Throws damaged spaces and annotation files at the readers: each is accepted, or refused in one message that names it.

python benchmarks/fuzz.py --inputs 10000
python benchmarks/fuzz.py --atheris space --seconds 600     # guided by coverage, where atheris is installed

Damaged by chance, from well-formed files (`tests/support/hostile.py`): values replaced by what types, ranges and
encodings cannot take, keys removed, doubled and misnamed, letters, lines and bytes changed, aliases that multiply or
hold themselves, nesting, numbers of thousands of digits, not-a-numbers, files outside of the folder, ids twice and
missing.
An input is bad if it ends in anything but one of the package's own errors with the file's name in it, or takes longer
than its time. A part is given to the command line itself, in a process of its own: its exit code must be 0 or 2.
"""

import argparse
import collections
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT), str(ROOT / "workers"), str(ROOT / "dashboards")]
from support import hostile  # noqa: E402

KINDS: dict[str, tuple[Callable[[random.Random], bytes], Callable[[bytes, Path], hostile.Outcome]]] = {
    "space": (hostile.hostile_space, hostile.space_outcome),
    "annotations": (hostile.hostile_annotations, hostile.annotations_outcome),
}


def throw(kind: str, inputs: int, seed: int, bad_folder: Path) -> dict[str, object]:
    """Throws so many files of a kind, keeps the bad ones, and counts."""
    make, judge = KINDS[kind]
    counts: collections.Counter[str] = collections.Counter()
    longest, lengths = 0.0, []
    with hostile.temporary() as name:
        for number in range(inputs):
            content = make(random.Random(f"{seed} {kind} {number}"))
            began = time.monotonic()
            found = judge(content, Path(name))
            longest = max(longest, time.monotonic() - began)
            lengths.append(len(found.text))
            counts[found.kind] += 1
            if found.kind in ("wrong", "slow"):
                bad_folder.mkdir(parents=True, exist_ok=True)
                (bad_folder / f"{kind}-{seed}-{number}").write_bytes(content)
                print(f"bad: {kind} {number}: {found.text}", flush=True)
    return {
        "kind": kind,
        "inputs": inputs,
        "accepted": counts["accepted"],
        "refused": counts["refused"],
        "wrong": counts["wrong"],
        "slow": counts["slow"],
        "longest s": round(longest, 2),
        "longest message": max(lengths),
    }


def typed(inputs: int, seed: int) -> dict[str, object]:
    """Gives damaged spaces to the command line, in processes of their own."""
    counts: collections.Counter[str] = collections.Counter()
    longest = 0.0
    with hostile.temporary() as name:
        path = Path(name) / "space.yaml"
        for number in range(inputs):
            path.write_bytes(hostile.hostile_space(random.Random(f"{seed} typed {number}")))
            began = time.monotonic()
            # What is accepted is planned, which trains nothing.
            command = [sys.executable, "-m", "piip_search.cli", "plan", str(path), "--json"]
            ended = subprocess.run(command, capture_output=True, text=True, cwd=name, timeout=120, check=False)
            longest = max(longest, time.monotonic() - began)
            good = ended.returncode in (0, 2) and "Traceback" not in ended.stderr
            counts["refused" if good else "wrong"] += 1
            if not good:
                print(f"bad: typed {number}: {ended.returncode} {ended.stderr[-300:]}", flush=True)
    return {
        "kind": "command line",
        "inputs": inputs,
        "accepted": 0,
        "refused": counts["refused"],
        "wrong": counts["wrong"],
        "slow": 0,
        "longest s": round(longest, 2),
        "longest message": 0,
    }


def guided(kind: str, seconds: int) -> None:
    """Lets atheris look for bad inputs, guided by the lines that they reach."""
    import atheris

    with atheris.instrument_imports(include=["piip_search", "piip_workers", "yaml", "pydantic"]):
        import piip_search.config  # noqa: F401
        import piip_workers.tasks.detection.data  # noqa: F401
    _, judge = KINDS[kind]
    folder = hostile.temporary()

    def one(content: bytes) -> None:
        found = judge(content, Path(folder.name))
        if found.kind in ("wrong", "slow"):
            raise AssertionError(found.text)

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096"], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="files in all, half of each kind")
    parser.add_argument("--typed", type=int, default=50, help="of these, so many more go to the command line itself")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bad", type=Path, default=Path("fuzz-bad"), help="folder in which bad inputs are kept")
    parser.add_argument("--atheris", choices=list(KINDS), help="let atheris look, in place of chance")
    parser.add_argument("--seconds", type=int, default=600, help="for atheris")
    options = parser.parse_args()
    if options.atheris:
        guided(options.atheris, options.seconds)
        return
    began = time.monotonic()
    rows = [throw(kind, options.inputs // len(KINDS), options.seed, options.bad) for kind in KINDS]
    rows += [typed(options.typed, options.seed)] if options.typed else []
    print(f"\n| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")
    print(json.dumps({"seconds": round(time.monotonic() - began), "rows": rows}))
    sys.exit(1 if any(row["wrong"] or row["slow"] for row in rows) else 0)


if __name__ == "__main__":
    main()
