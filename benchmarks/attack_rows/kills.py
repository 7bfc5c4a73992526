"""What is killed in the middle of something, and what is done twice at once."""

import json
import os
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from attack_rows.people import COMMAND, Person, ended, said
from attack_rows.searches import SPEC
from attack_rows.tally import Tally
from attack_rows.world import World
from piip_search.config import parse_spec
from piip_search.ledger import Ledger
from support import ledgers


def drivers(world: World) -> Tally:
    """Alice's local driver is killed again and again; then the run ends, and is replayed."""
    from faults import replayed

    tally, alice, trials = Tally(), world.people().alice, 60
    url = f"sqlite:///{alice.home()}/ledger.db"
    chance = random.Random(0)
    for _ in range(3 if world.quick else 18):
        process = alice.acting("search", url, "small", trials, 0.1)
        said(process)
        said(process)
        time.sleep(chance.uniform(0.05, 0.3))
        process.kill()
        process.communicate()
        with closing(Ledger(url, reading=True)) as ledger:
            numbers = [one.candidate.number for one in ledger.evaluations("small")]
            tally.check(numbers == sorted(set(numbers)) == list(range(len(numbers))), numbers)
    alice.acts("search", url, "small", trials)
    with closing(Ledger(url, reading=True)) as ledger:
        numbers = [one.candidate.number for one in ledger.evaluations("small")]
        same = replayed(parse_spec({**SPEC, "budget": {"trials": trials}}), ledger)
        tally.check(numbers == list(range(trials)) and same == "yes", f"at the end {numbers}, replayed {same}")
    return tally


def migrations(world: World) -> Tally:
    """`ledger upgrade` of a ledger of the first version is killed at several moments, and repeated."""
    tally, alice = Tally(), world.people().alice
    count, kills = (500, 3) if world.quick else (6_001, 7)
    whole = _first_version(world.place() / "ledger.db", count)
    took = _upgraded(alice, whole, 0, None)[0]
    for turn in range(kills):
        _, home = _upgraded(alice, whole, turn + 1, took * (0.4 + 0.6 * turn / kills))
        done = alice.typed("ledger", "upgrade", "--home", str(home))
        with closing(Ledger(f"sqlite:///{home}/ledger.db", reading=True)) as ledger:
            held = done.returncode == 0 and ledger.is_current and len(ledger.searches()) == count
            tally.check(held and len(ledger.evaluations("big")) > 0, f"turn {turn}: {done.stderr[-200:]}")
    return tally


def _upgraded(alice: Person, whole: Path, turn: int, after: float | None) -> tuple[float, Path]:
    """Seconds that an upgrade took, and its home; it is killed after some seconds."""
    home = alice.home(f"home-{turn}")
    (home / "ledger.db").write_bytes(whole.read_bytes())
    os.chown(home / "ledger.db", alice.number, alice.number)
    began = time.monotonic()
    process = alice.start(*COMMAND, "ledger", "upgrade", "--home", str(home))
    if after is not None:
        time.sleep(after)
        process.kill()
    ended(process)
    return time.monotonic() - began, home


def _first_version(file: Path, count: int) -> Path:
    """A ledger of the first version with so many searches."""
    from alembic import command
    from alembic.config import Config

    with closing(Ledger(f"sqlite:///{file}")) as ledger:
        ledgers.fill(ledger, ledgers.published_spec(6))
        config = Config()
        config.set_main_option("script_location", "piip_search.ledger:migrations")
        with ledger.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0001")
    with closing(sqlite3.connect(file)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(search)") if row[1] not in ("id", "name")]
        chosen = ", ".join(columns)
        connection.executemany(
            f"INSERT INTO search (name, {chosen}) SELECT ?, {chosen} FROM search WHERE name = 'big'",
            [(f"run-{number}",) for number in range(count - 1)],
        )
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return file


def _finished(me: Person) -> Path:
    home = me.home()
    me.acts("search", f"sqlite:///{home}/ledger.db", "coco", 4)
    return home


def exports(world: World) -> Tally:
    """An export is killed at several moments, and repeated into the folder; its proof starts processes of its own."""
    tally, me = Tally(), world.people().me
    home = _finished(me)
    words = [*COMMAND, "export", "coco", "best", "--home", str(home), "--out"]
    began = time.monotonic()
    whole = ended(me.start(*words, str(me.folder / "whole")))
    took = time.monotonic() - began
    if whole.returncode:
        raise RuntimeError(whole.stderr)
    for share in (0.8,) if world.quick else (0.3, 0.6, 0.9):
        folder = me.folder / f"out-{share}"
        process = me.start(*words, str(folder), start_new_session=True)
        time.sleep(took * share)
        os.killpg(process.pid, 9)
        process.communicate()
        again = ended(me.start(*words, str(folder)))
        tally.check(again.returncode == 0 and _proved(folder), f"at {share}: {again.stderr[-200:]}")
    return tally


def two_exports(world: World) -> Tally:
    """Two exports into one folder at once: it is whole at the end."""
    tally, me = Tally(), world.people().me
    home, folder = _finished(me), me.folder / "out"
    words = [*COMMAND, "export", "coco", "--home", str(home), "--out", str(folder)]
    both = [me.start(*words, choice) for choice in ("0", "1")]
    done = [ended(process) for process in both]
    codes, errors = [one.returncode for one in done], " ".join(one.stderr[-150:] for one in done)
    tally.check(0 in codes and set(codes) <= {0, 2} and "Traceback" not in errors, f"{codes}: {errors}")
    tally.check(_proved(folder), "the folder is not whole")
    return tally


def _proved(folder: Path) -> bool:
    file = folder / "proof.json"
    return file.exists() and bool(json.loads(file.read_text(encoding="utf-8"))["passed"])
