"""Users who share a ledger, a home, a database, or MLflow's store."""

import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

from attack_rows.people import COMMAND, GROUP, Person, dashboard, ended, go, said
from attack_rows.tally import Tally
from attack_rows.world import World
from piip_search.ledger import Ledger

PROGRAM = """
import os
from pathlib import Path
Path(r"{folder}", f"ran-as-{{os.getuid()}}").touch()
model = dict(type="RetinaNet")
"""


def programs(world: World) -> Tally:
    """A row of Bob's names a program of his; Alice looks at the run, and exports it."""
    tally, people = Tally(), world.people()
    marks = people.bob.home("marks", 0o777)
    program = people.bob.folder / "detector.py"
    program.write_text(PROGRAM.format(folder=marks), encoding="utf-8")
    os.chown(program, people.bob.number, people.bob.number)
    home = people.alice.home(mode=0o777)
    people.bob.acts("name_program", f"sqlite:///{home}/ledger.db", "bobs", program)
    for words in (
        ["show", "bobs"],
        ["front", "bobs"],
        ["report", "bobs", "--out", "report.html"],
        ["ledger", "list"],
        ["ledger", "export", "--out", "table.csv"],
        ["mirror", "bobs", "--force"],
        ["export", "bobs", "best", "--out", "exported"],
    ):
        done = people.alice.typed(*words, "--home", str(home))
        held = not list(marks.iterdir()) and "Traceback" not in done.stderr
        held = held and done.returncode == (2 if words[0] == "export" else 0)
        held = held and (words[0] != "export" or "--trust" in done.stderr)
        tally.check(held, f"{' '.join(words)}: {done.returncode} {done.stderr[-200:]} {list(marks.iterdir())}")
    return tally


def one_name_in_mlflow(world: World) -> Tally:
    """Two ledgers have a run of one name, and both are mirrored into one store."""
    tally, people = Tally(), world.people()
    shared, trials = people.alice.home("shared", 0o777), 6
    store = f"sqlite:///{shared}/mlflow.db"
    for person in (people.alice, people.bob):
        home = person.home()
        person.acts("search", f"sqlite:///{home}/ledger.db", "coco", trials)
        done = person.typed("mirror", "coco", "--home", str(home), "--mlflow", store)
        for path in (shared, *shared.rglob("*")):
            path.chmod(0o777)
        if done.returncode:
            tally.faults.append(done.stderr[-200:])
    for person in (people.alice, people.bob):
        with closing(Ledger(f"sqlite:///{person.folder}/runs/ledger.db", reading=True)) as ledger:
            uid = ledger.search("coco").uid
        shown = _mirrored(store, uid)
        for number in range(trials):
            tally.check(shown.count(number) == 1, f"evaluation {number} of {person.number} is there as {shown}")
    return tally


def _mirrored(store: str, uid: str) -> list[int]:
    """Numbers of the evaluations below the run of a search."""
    from piip_workers.tracking.search_run import MlflowTracker

    tracker = MlflowTracker(store)
    runs = tracker._client.search_runs([tracker._experiment])
    parents = [run.info.run_id for run in runs if run.data.tags.get("piip.uid") == uid and _is_search(run)]
    assert len(parents) <= 1
    children = [run for run in runs if not _is_search(run) and run.data.tags["mlflow.parentRunId"] in parents]
    return sorted(int(number) for run in children for number in run.data.tags["piip.numbers"].split(","))


def _is_search(run: object) -> bool:
    return bool(run.data.tags["piip.role"] == "search")  # type: ignore[attr-defined]


def two_mirrors(world: World) -> Tally:
    """Alice mirrors a run twice at once, into a new store and into one that is there."""
    tally = Tally()
    trials = 5 if world.quick else 101
    for there in (False, True):
        alice = world.people().alice
        home = alice.home()
        url, store = f"sqlite:///{home}/ledger.db", f"sqlite:///{home}/mlflow.db"
        if there:
            alice.acts("search", url, "other", 1)
            alice.typed("mirror", "other", "--home", str(home))
        alice.acts("search", url, "coco", trials)
        words = [*COMMAND, "mirror", "coco", "--home", str(home)]
        both = [ended(process) for process in [alice.start(*words) for _ in range(2)]]
        with closing(Ledger(url, reading=True)) as ledger:
            shown = _mirrored(store, ledger.search("coco").uid)
        codes = [done.returncode for done in both]
        errors = " ".join(done.stderr[-150:] for done in both)
        tally.check(codes == [0, 0] and shown == list(range(trials)), f"{codes}, {len(shown)} records: {errors}")
    return tally


def _places(world: World, person: Person) -> list[str]:
    """A SQLite ledger that everybody may write, and a PostgreSQL."""
    file = person.home(mode=0o777) / "ledger.db"
    Ledger(f"sqlite:///{file}").close()
    file.chmod(0o666)
    return [f"sqlite:///{file}", world.postgres.database()]


def answers(world: World) -> Tally:
    """Bob has measured the designs of Alice's next search, as bad ones."""
    tally = Tally()
    for place in range(2):
        people = world.people()
        url = _places(world, people.alice)[place]
        people.bob.acts("poison", url, "bobs", 6)
        found = people.alice.acts("search", url, "alices", 6)
        for metric, answer in zip(found["metrics"], found["answers"], strict=True):
            tally.check(metric != 0.01 and not answer, f"a trial of hers has {metric}, from {answer}")
    return tally


def unreadable(world: World) -> Tally:
    """Bob's rows have the keys of Alice's trials, and cannot be read."""
    tally = Tally()
    for place in range(2):
        people = world.people()
        url = _places(world, people.alice)[place]
        people.bob.acts("garble", url, "throwaway", 6, "bobs")
        done = ended(people.alice.acting("search", url, "alices", 6))
        tally.check(done.returncode == 0, done.stderr)
        people.alice.typed("show", "alices", "--ledger", url)
    return tally


def looking(world: World) -> Tally:
    """Alice is idle; Bob, who may write her home, only looks; then she goes on."""
    tally, people = Tally(), world.people()
    home = people.alice.home(mode=0o2770)
    url = f"sqlite:///{home}/ledger.db"
    people.alice.acts("search", url, "coco", 3)
    (home / "ledger.db").chmod(0o664)
    for words in (["show"], ["show", "coco"], ["front", "coco"], ["ledger", "list"], ["ledger", "log"]):
        done = people.bob.typed(*words, "--home", str(home))
        left = [path.name for path in home.iterdir() if path.stat().st_uid == people.bob.number]
        on = ended(people.alice.acting("search", url, "coco", 4), 60)
        held = (done.returncode, on.returncode, left) == (0, 0, [])
        tally.check(held, f"{words}: {done.stderr[-100:]} left {left}; she: {on.stderr[-150:]}")
    assert home.stat().st_gid == GROUP
    return tally


def reading(world: World) -> Tally:
    """Mallory may only read an idle home."""
    tally, people = Tally(), world.people()
    home = people.alice.home(mode=0o755)
    people.alice.acts("search", f"sqlite:///{home}/ledger.db", "coco", 4)
    before = _content(home)
    own = people.mallory.home("own")
    for words in (
        ["show", "coco"],
        ["report", "coco", "--out", "report.html"],
        ["front", "coco", "--csv"],
        ["ledger", "verify"],
    ):
        done = people.mallory.typed(*words, "--home", str(home))
        tally.check(done.returncode == 0 and _content(home) == before, f"{words}: {done.stderr[-200:]}")
    merged = people.mallory.typed("ledger", "merge", str(home), "--home", str(own))
    tally.check(merged.returncode == 0 and "8 rows added" in merged.stdout, merged.stderr)
    with dashboard(people.mallory, "--home", str(home)) as (at, headers):
        status = people.mallory.acts("ask", [("GET", at, headers)])
        tally.check(status == [200] and _content(home) == before, f"dashboard: {status}")
    return tally


def _content(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def two_drivers(world: World) -> Tally:
    """A second process drives a run: without a claim, after a kill, and with --take-over."""
    tally = Tally()
    for turn in range(2 if world.quick else 5):
        people = world.people()
        url = f"sqlite:///{people.alice.home()}/ledger.db"
        second = people.alice.acting("search", url, "coco", 20, 0.2, turn % 2 == 1, stdin=subprocess.PIPE)
        said(second)
        first = people.alice.acting("search", url, "coco", 20, 0.2)
        said(first)
        said(first)
        go(second)
        done, other = ended(first), ended(second)
        with closing(Ledger(url, reading=True)) as ledger:
            numbers = [one.candidate.number for one in ledger.evaluations("coco")]
        one_ended = sorted([done.returncode, other.returncode]) == [0, 1]
        told = "LedgerError" in (done.stderr + other.stderr)
        tally.check(
            one_ended and told and sorted(numbers) == list(range(20)),
            f"{numbers} {done.stderr[-200:]} {other.stderr[-200:]}",
        )
    return tally


def fairness(world: World) -> Tally:
    """Many searches write one ledger at once: 20 on SQLite, 8 on PostgreSQL."""
    tally, seconds = Tally(), 3 if world.quick else 10
    for place, count in ((0, 6 if world.quick else 20), (1, 4 if world.quick else 8)):
        people = world.people()
        url = _places(world, people.alice)[place]
        running = []
        for number in range(count):
            person = (people.alice, people.bob)[number % 2]
            running.append(person.acting("write_for", url, f"run-{number}", seconds, number, stdin=subprocess.PIPE))
        for process in running:
            said(process)
        for process in running:
            go(process)
        found = [_last(done) for done in map(ended, running)]
        trials = [one["trials"] for one in found]
        jain = sum(trials) ** 2 / (len(trials) * sum(value**2 for value in trials)) if sum(trials) else 0.0
        longest = max(one["longest"] for one in found)
        for one in found:
            tally.check(4 * count * one["trials"] > sum(trials) and one["longest"] < 5, one)
        tally.note += f"{count}: {sum(trials) / seconds:.0f} trials/s, Jain {jain:.3f}, longest trial {longest:.2f} s; "
    tally.note = tally.note.rstrip("; ")
    return tally


def _last(done: object) -> dict[str, float]:
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))  # type: ignore[attr-defined]
    except (ValueError, IndexError, TypeError):
        return {"trials": 0, "longest": 0.0, "error": done.stderr[-200:]}  # type: ignore[attr-defined]
