"""Answers to a candidate out of the measurements of other searches."""

from collections.abc import Mapping

from sqlalchemy import select

from piip_search.evaluation.evaluation import Evaluation
from piip_search.ledger.queries import LedgerQueries
from piip_search.ledger.records import AnswerRule
from piip_search.ledger.row_reading import read_evaluation
from piip_search.ledger.tables import EvaluationRow, SearchRow
from piip_search.ledger.versions import same_versions
from piip_search.owner import Owner


def find_answer(
    queries: LedgerQueries,
    key: str,
    rule: AnswerRule,
    versions: Mapping[str, str],
    owner: Owner,
    kin: str | None = None,
) -> tuple[str, Evaluation] | None:
    """The first successful measurement with a key that may answer, and its search's name.

    A row that cannot be read is no answer.

    Args:
        queries: Queries of the ledger.
        key: Key of the candidate.
        rule: Searches that may answer.
        versions: Versions of the packages that would measure it here.
        owner: Owner of the asking process.
        kin: Uid of a search of the same owner that may answer under any rule, and so may its audits and baselines.
    """
    if not queries.holds(key):  # a quick query for the usual case
        return None
    rows, _ = queries.readable(
        EvaluationRow,
        select(EvaluationRow)
        .where(EvaluationRow.key == key, EvaluationRow.status == "done")
        .order_by(EvaluationRow.id),
    )
    searches = {row.id: row for row in queries.searches()}
    for row in rows:
        search = searches.get(row.search_id)
        if search is None or not _may_answer(search, rule, owner, kin) or not _is_alike(queries, row, versions):
            continue
        asked = queries.asked(row.search_id, [row.number])
        evaluation = read_evaluation(row, asked[row.number][1]) if row.number in asked else None
        if isinstance(evaluation, Evaluation):
            return search.name, evaluation
    return None


def _may_answer(search: SearchRow, rule: AnswerRule, owner: Owner, kin: str | None) -> bool:
    """Whether a rule allows a search; one of an earlier version has no owner, and counts as one's own."""
    theirs = Owner(search.owner_user, search.owner_host)
    own = not theirs.known or theirs.is_same_user(owner)
    if isinstance(rule, str):
        return rule == "all" or own
    return search.name in rule or (own and kin is not None and kin in (search.uid, search.audit_of))


def _is_alike(queries: LedgerQueries, row: EvaluationRow, versions: Mapping[str, str]) -> bool:
    """Whether packages of the given versions measured an evaluation, as far as is known."""
    sittings, _ = queries.sittings(row.search_id)
    there = next((sitting for sitting in sittings if sitting.number == row.sitting), None)
    return there is None or same_versions(there.circumstances.versions, versions)
