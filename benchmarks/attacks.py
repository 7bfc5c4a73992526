"""Attacks a shared machine as its other users can, breaks what may break, and counts what held.

python benchmarks/attacks.py
python benchmarks/attacks.py --quick --only stop password answers

Alice, Bob and Mallory are three real users of this machine: only root can run this. Alice and Bob share a group,
Mallory shares nothing. PostgreSQL, Ray, MLflow and the dashboard are real and run on this machine. Each row of the
table is a function in `benchmarks/attack_rows`. The exit code is 1 if an attempt did not hold.
"""

import argparse
import os
import sys
import time
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / one) for one in ("benchmarks", "tests", "dashboards", "workers", ".")]
warnings.simplefilter("ignore")
os.environ.setdefault("OMP_NUM_THREADS", "1")
from attack_rows import checkpoints, clusters, databases, edits, kills, pages, sharing  # noqa: E402
from attack_rows.tally import Tally  # noqa: E402
from attack_rows.world import Row, World  # noqa: E402

ROWS = (
    Row("stop", "`stop NAME` beside another user's run, a newer failed one, a run named like a job", clusters.stop),
    Row("password", "password of `submit`'s PostgreSQL, in `ps`, environments, files and output", clusters.password),
    Row("loopback", "Mallory on Alice's loopback dashboard: read, stop, start, export", pages.loopback),
    Row("programs", "a file named by a row of the ledger is executed: 7 commands", sharing.programs),
    Row("mlflow", "two ledgers, one run name, one MLflow store: evaluations shown", sharing.one_name_in_mlflow),
    Row("mirrors", "two `mirror` of one run at once: store new / store there", sharing.two_mirrors),
    Row("answers", "rows of Bob's search answer Alice's trials (SQLite, PostgreSQL)", sharing.answers),
    Row("unreadable", "rows that cannot be read, same keys (SQLite, PostgreSQL)", sharing.unreadable),
    Row("looking", "Bob only looks at a group-writable home, then Alice goes on", sharing.looking),
    Row(
        "reading", "Mallory may only read an idle home: show, report, front, verify, merge, dashboard", sharing.reading
    ),
    Row("edited", "edited ledgers x 8 commands and pages", edits.edited),
    Row("downloads", "`evaluations.csv`: alone, 40 at once, other pages meanwhile", pages.downloads),
    Row("resume", "resume of a long search (sampler random): linear CPU", pages.long_resume),
    Row("tokens", "requests without or with wrong token, all routes and methods", pages.without_token),
    Row("odd", "odd requests (paths, numbers, Unicode, long names, 1,500 designs)", pages.odd_requests),
    Row("hosts", "hostile Host and Origin headers; redirects, CR LF", pages.hosts),
    Row("unfinished", "connections that never finish a request, pages meanwhile", pages.unfinished),
    Row("checkpoints", "hostile checkpoints x 4 loaders", checkpoints.checkpoints),
    Row("kills", "kill -9 of a local driver, then equal replay", kills.drivers),
    Row("migrations", "kill -9 within a migration of thousands of searches", kills.migrations),
    Row("exports", "kill -9 of an export, exported again into the folder", kills.exports),
    Row("two-exports", "two exports into one folder at once", kills.two_exports),
    Row("fairness", "many searches of two users on one SQLite, and on one PostgreSQL", sharing.fairness),
    Row("drivers", "two drivers of one run, with and without `--take-over`", sharing.two_drivers),
    Row("roles", "PostgreSQL: UPDATE, DELETE, TRUNCATE, DISABLE TRIGGER, DROP by driver and reader", databases.roles),
    Row("verify", "rows changed or removed by the owner of the file: `ledger verify`", edits.verified),
    Row("texts", "formulas, control characters and markup in tables, terminals and reports", edits.texts),
)
"""Worst first."""


def tried(row: Row, world: World) -> Tally:
    """The tally of a row; an error of the attack itself is an attempt that did not hold."""
    try:
        return row.run(world)
    except Exception:
        traceback.print_exc()
        tally = Tally()
        tally.check(False, f"the attack failed: {traceback.format_exc(limit=-1)}")
        return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[row.name for row in ROWS], help="some rows")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("only root can be somebody else; run this as root, on a machine that is yours")
    os.umask(0o022)
    world, table = World(options.quick), []
    try:
        for row in ROWS:
            if options.only is None or row.name in options.only:
                began = time.monotonic()
                tally = tried(row, world)
                print(f"{row.name}: {tally.held} of {tally.tried}, {time.monotonic() - began:.0f} s", flush=True)
                table.append((row, tally))
    finally:
        world.close()
    print("\n| attack or fault | tried | held | worst |\n| --- | --- | --- | --- |")
    for row, tally in table:
        print(f"| {row.title} | {tally.tried:,} | {tally.held:,} | {tally.worst.replace('|', '/')} |")
    sys.exit(1 if any(tally.held < tally.tried for _, tally in table) else 0)


if __name__ == "__main__":
    main()
