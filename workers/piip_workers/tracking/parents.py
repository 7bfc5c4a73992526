"""The run of a search in MLflow: found by the search's uid, one for each search, whatever the searches are called.

No name is ever part of a query: a name comes from a ledger that others may write.
"""

import json
import random
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from piip_search.errors import StoreError
from piip_search.evaluation.tracker import TrackedSearch
from piip_search.owner import Owner

EXPERIMENT = "piip-search"
LONGEST_VALUE = 500
SEARCHES = "tags.`piip.role` = 'search'"
CHANGEABLE_SETTINGS = ("name", "budget.", "resources.")
"""Beginnings of the settings that may change while a search goes on."""
CLOCKS = 60.0
"""Seconds by which the clocks of two machines may differ."""
ATTEMPTS = 5
"""Attempts to begin the run of a search while other processes begin it too."""
_IN_A_QUERY = re.compile(r"[0-9A-Za-z_-]+")


def runs_of(client: MlflowClient, experiment: str, condition: str) -> list[Any]:
    """All active runs with a condition."""
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment], condition, ViewType.ACTIVE_ONLY, 1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def oldest_first(runs: Iterable[Any]) -> list[Any]:
    """Runs in the order of their start, the same for every process."""
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def parents_of(client: MlflowClient, experiment: str, uid: str) -> list[Any]:
    """The runs of the search with a uid, oldest first: one, unless two processes began it at once."""
    condition = f"{SEARCHES} and tags.`piip.uid` = '{uid}'" if _IN_A_QUERY.fullmatch(uid) else SEARCHES
    return oldest_first(run for run in runs_of(client, experiment, condition) if run.data.tags.get("piip.uid") == uid)


def parent_named(client: MlflowClient, run: str, uid: str) -> Any:
    """The run of the search of an export.

    Args:
        client: Client of the store.
        run: Name of the search.
        uid: Uid of the search; empty in exports of earlier versions.

    Raises:
        LookupError: The store lacks the search, or has several of that name and the export has no uid.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    known = [] if experiment is None else runs_of(client, experiment.experiment_id, SEARCHES)
    named = [one for one in known if one.data.tags.get("piip.run") == run]
    former = [one for one in named if "piip.uid" not in one.data.tags]
    own = oldest_first(one for one in known if uid and one.data.tags.get("piip.uid") == uid) or (
        former if uid else named
    )
    if not own:
        raise LookupError(f"it holds no search {run}")
    if len(own) > 1 and not uid:
        raise LookupError(f"it holds {len(own)} searches {run}; export the design again, so that it names one of them")
    return own[0]


def take_parent(client: MlflowClient, experiment: str, search: TrackedSearch) -> str:
    """The id of a search's run: the one that has its uid, one of an earlier version that fits, or a new one."""
    own = parents_of(client, experiment, search.uid) or _former(client, experiment, search)
    if not own:
        return str(_begun(client, experiment, search).info.run_id)
    for double in own[1:]:
        _move_children(client, experiment, double.info.run_id, own[0].info.run_id)
        client.delete_run(double.info.run_id)
    return str(own[0].info.run_id)


def owner_tags(owner: Owner) -> dict[str, str]:
    """The tag by which MLflow shows the user of a run; none for an unknown owner."""
    return {"mlflow.user": str(owner)} if owner.known else {}


def flattened(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by their dotted names, as texts."""
    found: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = (value if isinstance(value, str) else json.dumps(value))[:LONGEST_VALUE]
    return found


def _former(client: MlflowClient, experiment: str, search: TrackedSearch) -> list[Any]:
    """The run by which an earlier version, which noted no uid, mirrored this search; it gets the uid."""
    fitting = [run for run in runs_of(client, experiment, SEARCHES) if _fits(run, search)]
    for run in oldest_first(fitting)[:1]:
        for key, value in ({"piip.uid": search.uid, "piip.name": search.run} | owner_tags(search.owner)).items():
            client.set_tag(run.info.run_id, key, value)
        return [run]
    return []


def _fits(run: Any, search: TrackedSearch) -> bool:
    """Whether a run has no uid, and the name and the settings of a search that was begun before it."""
    tags, before, now = run.data.tags, run.data.params, flattened(search.spec)
    same = [key for key in before.keys() & now.keys() if not key.startswith(CHANGEABLE_SETTINGS)]
    return (
        "piip.uid" not in tags
        and tags.get("piip.run") == search.run
        and run.info.start_time >= 1000 * (search.created_at.timestamp() - CLOCKS)
        and all(before[key] == now[key] for key in same)
    )


def _begun(client: MlflowClient, experiment: str, search: TrackedSearch) -> Any:
    """A new run for a search; of several that processes begin at once, one is kept.

    Raises:
        StoreError: Other processes begin it again and again.
    """
    name = _shown_name(client, experiment, search)
    own = {"piip.run": search.run, "piip.uid": search.uid, "piip.name": name, "piip.role": "search"}
    for _ in range(ATTEMPTS):
        mine = client.create_run(experiment, run_name=name, tags=own | owner_tags(search.owner))
        if len(parents_of(client, experiment, search.uid)) == 1:
            return mine
        client.delete_run(mine.info.run_id)
        time.sleep(random.uniform(0.0, 1.0))
        if others := parents_of(client, experiment, search.uid):
            return others[0]
    raise StoreError(f"other processes begin the mirror of run {search.run!r} again and again; end them and try again")


def _shown_name(client: MlflowClient, experiment: str, search: TrackedSearch) -> str:
    """The name of the run, with a part of the uid if another search has the name."""
    others = runs_of(client, experiment, SEARCHES)
    taken = any(
        run.data.tags.get("piip.run") == search.run and run.data.tags.get("piip.uid") != search.uid for run in others
    )
    return f"{search.run} {search.uid[:8]}" if taken else search.run


def _move_children(client: MlflowClient, experiment: str, before: str, now: str) -> None:
    for child in runs_of(client, experiment, f"tags.`mlflow.parentRunId` = '{before}'"):
        client.set_tag(child.info.run_id, "mlflow.parentRunId", now)
