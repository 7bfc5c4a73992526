"""Two users with searches on one Ray cluster."""

import secrets
from pathlib import Path

import yaml

from attack_rows.people import Person
from attack_rows.searches import SPEC
from attack_rows.tally import Tally
from attack_rows.world import World

LONG = ("--mlflow", "none", "--trials", "400", "--quiet")


def stop(world: World) -> Tally:
    """Alice stops her run by its name, or by its job, beside a run of Bob's."""
    from ray.job_submission import JobSubmissionClient

    tally, at = Tally(), ("--address", world.cluster.address)
    client = JobSubmissionClient(world.cluster.address)
    people = world.people()
    alice, bob = people.alice, people.bob

    def lives(job: str) -> bool:
        return client.get_job_status(job).value in ("PENDING", "RUNNING")

    bobs, alices = _submitted(bob, "coco", at), _submitted(alice, "coco", at)
    done = alice.typed("stop", "coco", *at)
    tally.check(done.returncode == 0 and lives(bobs) and not lives(alices), f"one name: {done.stdout}{done.stderr}")

    done = alice.typed("stop", bobs, *at)
    tally.check(done.returncode == 2 and lives(bobs), f"another's job: {done.stdout}{done.stderr}")

    alices, failed = _submitted(alice, "coco", at), _submitted(bob, "coco", at, "--resume", home="no-runs")
    while lives(failed):
        pass
    done = alice.typed("stop", "coco", *at)
    tally.check(done.returncode == 0 and not lives(alices), f"a newer failed one: {done.stdout}{done.stderr}")

    alices = _submitted(alice, "mine", at)
    like = _submitted(bob, alices, at, home="like")
    done = alice.typed("stop", alices, *at)
    held = done.returncode == 0 and not lives(alices) and lives(like)
    tally.check(held, f"a run named like a job: {done.stdout}{done.stderr}")

    foreign = client.submit_job(entrypoint="sleep 600", submission_id="raysubmit_carol")
    done = alice.typed("stop", foreign, "--force", *at)
    tally.check(done.returncode == 2 and lives(foreign), f"another program's job: {done.stdout}{done.stderr}")
    for job in (bobs, like, foreign):
        client.stop_job(job)
    return tally


def _submitted(person: Person, name: str, at: tuple[str, ...], *more: str, home: str = "runs") -> str:
    """The job of a search that a user submits."""
    place = person.folder / home
    if not place.exists():
        person.home(home)
    done = person.typed("submit", str(_space(person)), "--home", str(place), "--name", name, *LONG, *at, *more)
    if done.returncode:
        raise RuntimeError(f"submit: {done.stdout} {done.stderr}")
    return done.stdout.strip()


def _space(person: Person) -> Path:
    file = person.folder / "space.yaml"
    content = {**SPEC, "fidelity": {"epochs": 1, "data_fraction": 0.05}, "resources": {"cpu": 1}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def password(world: World) -> Tally:
    """Another user looks for the password of Alice's database: in processes, and in the files of Ray."""
    from support import onlooker
    from support.asking_postgres import asking_postgres

    tally, alice, secret = Tally(), world.people().alice, secrets.token_hex(16)
    home = alice.home()
    with asking_postgres() as server:
        ledger = f"postgresql://me:{secret}@127.0.0.1:{server.port}/none"
        words = ["submit", str(_space(alice)), "--home", str(home), "--address", world.cluster.address, "--follow"]
        with onlooker.looked_for(secret, world.cluster.sessions) as found:
            done = alice.typed(*words, env={"PIIP_SEARCH_LEDGER": ledger})
    seen = {kind: [place for place in found if place.startswith(kind)] for kind in ("ps", "/proc", "/tmp")}
    tally.check(server.passwords[:1] == [secret], f"the driver did not get it: {done.stdout}{done.stderr}")
    for kind, places in seen.items():
        tally.check(not places, f"{kind}: {places}")
    tally.check(secret not in done.stdout + done.stderr, "printed")
    return tally
