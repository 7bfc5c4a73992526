import csv
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from piip_search.config import SearchSpec, parse_spec
from piip_search.evaluation.evaluation import Evaluation
from piip_search.ledger import Ledger, LedgerError, PreparationRecord
from piip_search.ledger.copies import merge, rows
from piip_search.search.search import open_search
from support import fakes
from support.typed import Cli


def drive(spec: SearchSpec, ledger: Ledger, count: int, name: str = "run", seed: int = 0) -> None:
    changed = parse_spec({**spec.model_dump(mode="json"), "sampler": "random", "seed": seed})
    search = open_search(name, changed, ledger, "recipe")
    for _ in range(count):
        candidate = search.propose()
        assert candidate is not None
        search.accept(fakes.measure(candidate))


@pytest.fixture
def ledgers(tmp_path: Path) -> tuple[Ledger, Ledger]:
    return Ledger(f"sqlite:///{tmp_path}/one.db"), Ledger(f"sqlite:///{tmp_path}/two.db")


def test_a_search_is_copied_whole_and_goes_on_there(spec: SearchSpec, ledgers: tuple[Ledger, Ledger]) -> None:
    one, two = ledgers
    drive(spec, one, 4)
    one.prepare("run", PreparationRecord("supernet", "digest", "done", "a1", seconds=2.0, facts={"steps": 9}))
    (merged,) = merge(one, two)
    assert two.preparations("run") == one.preparations("run")
    assert len(two.preparations("run")) == 1
    assert (merged.name, merged.into, merged.rows) == ("run", "run", 8)
    assert list(two.events("run")) == list(one.events("run"))
    assert two.search("run").uid == one.search("run").uid
    assert two.front_snapshots("run") == one.front_snapshots("run")
    drive(spec, two, 3)
    assert [merged.rows for merged in merge(one, two)] == [0]
    assert [merged.rows for merged in merge(two, one)] == [6]
    assert list(two.events("run")) == list(one.events("run"))


def test_other_searches_of_the_same_name_are_kept_apart(spec: SearchSpec, ledgers: tuple[Ledger, Ledger]) -> None:
    one, two = ledgers
    drive(spec, one, 2)
    drive(spec, two, 3, seed=1)
    (merged,) = merge(one, two)
    assert merged.into == f"run-{one.search('run').uid[:6]}"
    assert [record.evaluations for record in two.searches()] == [3, 2]
    assert two.evaluations(merged.into) == one.evaluations("run")


def test_copies_that_went_on_separately_are_not_joined(spec: SearchSpec, ledgers: tuple[Ledger, Ledger]) -> None:
    one, two = ledgers
    drive(spec, one, 2)
    merge(one, two)
    drive(spec, one, 1)
    search = open_search("run", parse_spec({**spec.model_dump(mode="json"), "sampler": "random"}), two, "recipe")
    candidate = search.propose()
    assert candidate is not None
    search.accept(Evaluation(candidate, "failed", error="another end"))
    before = list(two.events("run"))
    with pytest.raises(LedgerError, match="went on separately"):
        merge(one, two)
    assert list(two.events("run")) == before


def test_what_was_measured_elsewhere_answers_here(spec: SearchSpec, ledgers: tuple[Ledger, Ledger]) -> None:
    one, two = ledgers
    drive(spec, one, 5)
    merge(one, two)
    search = open_search("other", parse_spec({**spec.model_dump(mode="json"), "sampler": "random"}), two, "recipe")
    search.propose()
    assert search.answered == 5


def test_a_table_has_a_row_for_every_proposal(spec: SearchSpec, ledgers: tuple[Ledger, Ledger]) -> None:
    ledger, _ = ledgers
    drive(spec, ledger, 3)
    search = open_search("run", parse_spec({**spec.model_dump(mode="json"), "sampler": "random"}), ledger, "recipe")
    search.propose()
    table = list(rows(ledger, ["run"]))
    assert [row["status"] for row in table] == ["done"] * 3 + ["unfinished"]
    for row, evaluation in zip(table, ledger.evaluations("run"), strict=False):
        assert row["metric.bbox_mAP"] == evaluation.metrics["bbox_mAP"]
        assert row["gmacs.backbone"] == pytest.approx(search.objectives.cost(evaluation))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_command_exports_what_the_ledger_holds(spec: SearchSpec, tmp_path: Path, run_cli: Cli, ending: str) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path}/runs/ledger.db")) as ledger:
        drive(spec, ledger, 3)
    home, out = ["--home", str(tmp_path / "runs")], tmp_path / f"table.{ending}"
    (listed,) = json.loads(run_cli("ledger", "list", "--json", *home).out)
    assert (listed["name"], listed["evaluations"]) == ("run", 3)
    assert "run" in run_cli("ledger", "list", *home).out
    run_cli("ledger", "export", "-o", str(out), *home)
    assert [float(row["metric.bbox_mAP"]) for row in _read(out)] == [
        evaluation.metrics["bbox_mAP"]
        for evaluation in Ledger(f"sqlite:///{tmp_path}/runs/ledger.db").evaluations("run")
    ]
    assert run_cli("ledger", "merge", str(tmp_path / "runs" / "ledger.db"), "--home", str(tmp_path / "other")).code == 0
    assert run_cli("ledger", "export", "-o", str(tmp_path / "table.txt"), *home).code == 2
    assert run_cli("ledger", "merge", str(tmp_path / "none.db"), *home).code == 2


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            return list(csv.DictReader(file))
    parquet = pytest.importorskip("pyarrow.parquet")
    return list(parquet.read_table(path).to_pylist())
