"""Reads rows of the ledger as values, with every field checked.

Rows come from other people, other versions and damaged files. A row that cannot be read becomes an `UnreadableRow` with
a reason, so that one such row costs nobody the others.
"""

import hashlib
import math
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

from sqlalchemy import Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from piip_search.architecture import Architecture
from piip_search.architecture.design import ReadDesign
from piip_search.evaluation.evaluation import Candidate, Evaluation, Status
from piip_search.evaluation.facts import Facts
from piip_search.ledger.records import UnreadableRow
from piip_search.ledger.tables import (
    ActionRow,
    EvaluationRow,
    FrontRow,
    KeptFileRow,
    LedgerTable,
    LinkRow,
    PreparationRow,
    PromotionRow,
    ProposalRow,
    SearchRow,
    SittingRow,
)

_Row = TypeVar("_Row", bound=LedgerTable)
LONGEST_TEXT = 4000
"""Most characters of a text that are read; the rest is cut."""
LONGEST_ROW_NAME = 200
"""Most characters of a name inside of plain data."""
MOST_ROW_VALUES = 200_000
"""Most values inside one field of plain data."""
DEEPEST_ROW = 20
"""Most levels of one field of plain data."""
LARGEST_RESOLUTION = 2**17
"""Longest side of an image in pixels, and of a window in tokens."""
DEEPEST_MODEL = 10_000
WIDEST_MODEL = 2**20
MOST_EPOCHS = 20_000
"""Most epochs of a training, and most seeds of a candidate."""
LARGEST_NUMBER = 2**53
"""Largest whole number that JSON and JavaScript hold exactly."""
UNDECODABLE = "Could not decode to UTF-8"
"""SQLite's complaint about a text with invalid bytes."""
_UID = re.compile(r"[0-9a-f]{1,32}")


class _FieldError(ValueError):
    """A field is invalid; the message has the rule and the value."""


def readable_rows(
    session: Session, table: type[_Row], question: Select[_Row]
) -> tuple[list[_Row], list[UnreadableRow]]:
    """The rows of a query whose fields have their types, in its order, and the others.

    Args:
        session: Session of the database.
        table: Table of the rows.
        question: Query of whole rows of that table.
    """
    decoded, unreadable = _decoded_rows(session, table, question)
    rows = []
    for row in decoded:
        problem = _problem(row)
        if problem is None:
            rows.append(row)
        else:
            unreadable.append(problem)
    return rows, unreadable


def read_candidate(row: ProposalRow, read_design: ReadDesign) -> Candidate | UnreadableRow:
    """The candidate of a proposal.

    Args:
        row: Row of the proposal.
        read_design: Reads a design from its plain data.
    """
    return _read(row, lambda: _candidate(row, read_design))


def read_evaluation(row: EvaluationRow, candidate: Candidate, proposed: int = 0) -> Evaluation | UnreadableRow:
    """The evaluation in a row.

    Args:
        row: Row of the evaluation.
        candidate: Candidate with the row's number.
        proposed: Position of the candidate's proposal; 0 if unknown.
    """
    return _read(row, lambda: _evaluation(row, candidate, proposed))


def cut(text: str) -> str:
    """A text of bounded length."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text):,} characters)"


_T = TypeVar("_T")


def _read(row: LedgerTable, read: Callable[[], _T]) -> _T | UnreadableRow:
    try:
        return read()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError) as error:
        return _unreadable(row, error)


def _unreadable(row: LedgerTable, error: Exception) -> UnreadableRow:
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return UnreadableRow(row.__tablename__, cast(Any, row).id, " ".join(reason[:300].split()))


def _decoded_rows(
    session: Session, table: type[_Row], question: Select[_Row]
) -> tuple[list[_Row], list[UnreadableRow]]:
    """The rows that the database's types can express.

    One row with a broken date, broken JSON or broken text fails the whole query. The parts of the query are then asked
    apart, down to single rows.
    """
    try:
        return list(session.scalars(question)), []
    except (ValueError, TypeError, OverflowError) as error:
        problem: Exception = error
    except DBAPIError as error:
        if UNDECODABLE not in str(error.orig):
            raise
        problem = ValueError("a text is no UTF-8")
    key = cast(Any, table).id
    ids = list(session.scalars(question.with_only_columns(key, maintain_column_froms=True)))
    if len(ids) == 1:
        return [], [UnreadableRow(table.__tablename__, ids[0], f"a field cannot be decoded: {str(problem)[:200]}")]
    rows, unreadable = [], []
    for part in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
        found, others = _decoded_rows(session, table, question.where(key.between(min(part), max(part))))
        rows += found
        unreadable += others
    return rows, unreadable


def _problem(row: LedgerTable) -> UnreadableRow | None:
    """The reason why a row cannot be read; None for a readable one."""
    found = _read(row, lambda: _CHECKS[type(row)](cast(Any, row)))
    return found if isinstance(found, UnreadableRow) else None


def _check_search(row: SearchRow) -> None:
    for name in ("name", "question", "recipe", "data", "owner_user", "owner_host"):
        _text(name, getattr(row, name))
    if not _UID.fullmatch(_text("uid", row.uid)):
        _refuse("uid", "be hexadecimal digits", row.uid)
    if row.audit_of is not None:
        _text("audit_of", row.audit_of)
    _plain("spec", _mapping("spec", row.spec))


def _check_sitting(row: SittingRow) -> None:
    _whole("number", row.number)
    _whole("process", row.process)
    for name in ("host", "revision", "owner_user", "owner_host"):
        _text(name, getattr(row, name))
    for name in ("budget", "resources"):
        _plain(name, _mapping(name, getattr(row, name)))
    for name, version in _mapping("versions", row.versions).items():
        _text(f"versions.{name}", version)


def _check_proposal(row: ProposalRow) -> None:
    _check_place(row)
    for name in ("key", "architecture", "fingerprint"):
        _text(name, getattr(row, name))
    _plain("costs", _mapping("costs", row.costs))
    _plain("candidate", _mapping("candidate", row.candidate))


def _check_evaluation(row: EvaluationRow) -> None:
    _check_place(row)
    for name in ("key", "host", "error"):
        _text(name, getattr(row, name))
    for name in ("seconds", "gpu_seconds"):
        _amount(name, getattr(row, name))
    if row.status not in ("done", "failed"):
        _refuse("status", "be done or failed", row.status)
    for name, value in _mapping("metrics", row.metrics).items():
        _text("a name", name, LONGEST_ROW_NAME)
        _number(f"metrics.{name}", value)
    if len(_sequence("history", row.history)) > MOST_EPOCHS:
        _refuse("history", f"have at most {MOST_EPOCHS} lines", len(row.history))
    for line in row.history:
        for name, value in _mapping("history", line).items():
            _text("a name", name, LONGEST_ROW_NAME)
            _quantity(f"history.{name}", value)
    _plain("facts", _mapping("facts", row.facts))


def _check_promotion(row: PromotionRow) -> None:
    for name in ("number", "first", "rung"):
        _whole(name, getattr(row, name))


def _check_front(row: FrontRow) -> None:
    _whole("position", row.position)
    _number("tier", row.tier)
    _number("hypervolume", row.hypervolume)
    for number in _sequence("members", row.members):
        _whole("members", number)


def _check_preparation(row: PreparationRow) -> None:
    _whole("number", row.number)
    _whole("sitting", row.sitting)
    for name in ("kind", "digest", "uid", "error"):
        _text(name, getattr(row, name))
    if row.state not in ("running", "done", "failed"):
        _refuse("state", "be running, done or failed", row.state)
    for name in ("seconds", "gpu_seconds"):
        _amount(name, getattr(row, name))
    _plain("facts", _mapping("facts", row.facts))


def _check_kept_file(row: KeptFileRow) -> None:
    _whole("number", row.number)
    for name in ("path", "digest", "content"):
        _text(name, getattr(row, name))
    if hashlib.sha256(row.content.encode()).hexdigest() != row.digest:
        _refuse("digest", "be that of the content", row.digest)


def _check_link(row: LinkRow) -> None:
    _whole("number", row.number)
    for name in ("search", "row", "digest"):
        _text(name, getattr(row, name))


def _check_action(row: ActionRow) -> None:
    _whole("process", row.process)
    for name in ("search", "run", "what", "owner_user", "owner_host"):
        _text(name, getattr(row, name))
    _plain("detail", _mapping("detail", row.detail))


_CHECKS: dict[type[LedgerTable], Callable[[Any], None]] = {
    SearchRow: _check_search,
    SittingRow: _check_sitting,
    ProposalRow: _check_proposal,
    EvaluationRow: _check_evaluation,
    PromotionRow: _check_promotion,
    FrontRow: _check_front,
    PreparationRow: _check_preparation,
    KeptFileRow: _check_kept_file,
    ActionRow: _check_action,
    LinkRow: _check_link,
}


def _check_place(row: ProposalRow | EvaluationRow) -> None:
    for name in ("position", "number", "sitting"):
        _whole(name, getattr(row, name))


def _candidate(row: ProposalRow, read_design: ReadDesign) -> Candidate:
    data = row.candidate
    fidelity, why = _mapping("fidelity", data.get("fidelity")), _mapping("why", data.get("why", {}))
    _check_fidelity(fidelity)
    _check_reason(why)
    _whole("seed", data.get("seed"))
    if data.get("parent") is not None:
        _text("parent", data["parent"])
    if data.get("number") != row.number:
        _refuse("number", f"be that of its row, {row.number}", data.get("number"))
    _mapping("architecture", data.get("architecture"))
    candidate = Candidate.from_dict(data, read_design)
    if isinstance(candidate.design, Architecture):
        _check_size(candidate.design)
    return candidate


def _check_fidelity(fidelity: Mapping[str, Any]) -> None:
    known = ("epochs", "data_fraction", "image_scale", "horizon", "seeds")
    for name in fidelity:
        if name not in known:
            _refuse("fidelity", f"have only {', '.join(known)}; a later version may know more", name)
    for name, default in (("epochs", 1), ("horizon", None), ("seeds", 1)):
        value = fidelity.get(name, default)
        if (value is not None or default is not None) and _whole(name, value) > MOST_EPOCHS:
            _refuse(name, f"be at most {MOST_EPOCHS}", value)
    for name in ("data_fraction", "image_scale"):
        if not 0 < _number(name, fidelity.get(name, 1.0)) <= 1:
            _refuse(name, "lie in (0, 1]", fidelity[name])


def _check_reason(why: Mapping[str, Any]) -> None:
    for name in ("source", "prior"):
        _text(f"why.{name}", why.get(name, ""))
    for name in ("tier", "gain"):
        if why.get(name) is not None:
            _number(f"why.{name}", why[name])
    for name in ("of", "rung"):
        if why.get(name) is not None:
            _whole(f"why.{name}", why[name])
    if why.get("predicted") is not None:
        if len(_sequence("why.predicted", why["predicted"])) != 3:
            _refuse("why.predicted", "be three numbers", why["predicted"])
        for value in why["predicted"]:
            _number("why.predicted", value)
    for tier, gain in _mapping("why.left", why.get("left") or {}).items():
        _number("why.left", float(tier))
        _number("why.left", gain)


def _check_size(architecture: Architecture) -> None:
    """Refuses designs that take long to price or to draw; no search has them."""
    for branch in architecture.branches:
        for name in ("resolution", "window", "global_every", "patch_size"):
            value = getattr(branch, name)
            if value is not None and _whole(name, value) > LARGEST_RESOLUTION:
                _refuse(name, f"be at most {LARGEST_RESOLUTION}", value)
        if branch.model.depth > DEEPEST_MODEL or max(stage.width for stage in branch.model.stages) > WIDEST_MODEL:
            _refuse("backbone", f"have at most {DEEPEST_MODEL} blocks and width {WIDEST_MODEL}", branch.backbone)
    for name in ("count", "heads", "points"):
        if _whole(name, getattr(architecture.interaction, name)) > DEEPEST_MODEL:
            _refuse(name, f"be at most {DEEPEST_MODEL}", getattr(architecture.interaction, name))


def _evaluation(row: EvaluationRow, candidate: Candidate, proposed: int) -> Evaluation:
    if row.position <= proposed:
        _refuse("position", f"come after that of its proposal, {proposed}", row.position)
    facts = Facts.from_dict({name: _shortened(value) for name, value in row.facts.items()})
    history = tuple(
        # Names are kept once: a long search has millions of these lines.
        {sys.intern(name): value for name, value in line.items() if value is not None and math.isfinite(value)}
        for line in row.history
    )
    metrics = {sys.intern(name): value for name, value in row.metrics.items()}
    return Evaluation(candidate, cast(Status, row.status), metrics, cut(row.error), float(row.seconds), history, facts)


def _shortened(value: Any) -> Any:
    """Plain data with all texts cut."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, Mapping):
        return {name: _shortened(part) for name, part in value.items()}
    return [_shortened(part) for part in value] if isinstance(value, list) else value


def _plain(name: str, value: Any) -> None:
    """Refuses data that is too large or too deep to show."""
    left, level, depth = MOST_ROW_VALUES, [value], 0
    while level:
        left, depth = left - len(level), depth + 1
        if left < 0 or depth > DEEPEST_ROW:
            _refuse(name, f"have at most {MOST_ROW_VALUES} values on {DEEPEST_ROW} levels", "more")
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    for name in value:
        _text("a name", name, LONGEST_ROW_NAME)
    return value.values()


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else _refuse(name, "be a mapping", value)


def _sequence(name: str, value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else _refuse(name, "be a list", value)


def _text(name: str, value: Any, longest: int | None = None) -> str:
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        _refuse(name, "be a text" if longest is None else f"be a text of at most {longest} characters", value)
    return value


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_NUMBER:
        _refuse(name, f"be a whole number from 0 to {LARGEST_NUMBER}", value)
    return value


def _number(name: str, value: Any) -> float:
    if not _is_number(value) or not math.isfinite(value) or abs(value) > 1e15:
        _refuse(name, "be a number between -1e15 and 1e15", value)
    return float(value)


def _amount(name: str, value: Any) -> float:
    number = _number(name, value)
    return number if number >= 0 else _refuse(name, "not be negative", value)


def _quantity(name: str, value: Any) -> None:
    """Refuses what a learning curve cannot hold; a diverging training has infinite values, and some have none."""
    if value is not None and not _is_number(value):
        _refuse(name, "be a number", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(name: str, rule: str, value: Any) -> NoReturn:
    raise _FieldError(f"{name} must {rule}, got {reprlib.repr(value)[:80]}")
