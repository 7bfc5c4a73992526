"""`import piip_search as ps`: the names it offers, and a search from Python."""

import errno
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import piip_search as ps
from piip_search.errors import ChoiceError, LedgerError, SpecError
from support import ROOT

SMALL = {"budget": {"trials": 5}, "limit": {"gmacs": [0.1, 0.3]}}


def size(candidate: ps.Candidate) -> float:
    """A stand-in for a training: the larger the images, the better."""
    return candidate.architecture.resolution / 1000


def test_the_names_are_sorted_and_the_same_for_type_checkers() -> None:
    names = ps.__all__
    assert names == sorted(names)
    stub = (ROOT / "piip_search" / "__init__.pyi").read_text(encoding="utf-8")
    assert sorted({*re.findall(r" as (\w+)$", stub, re.MULTILINE), "__version__"}) == names
    assert all(getattr(ps, name) is not None for name in names)
    assert set(names) <= set(dir(ps))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ps.nothing  # type: ignore[attr-defined]


def test_a_search_with_an_evaluator_of_ones_own(tmp_path: Path) -> None:
    spec = ps.load("quickstart", **SMALL)
    asked: list[str] = []

    def evaluate(candidate: ps.Candidate) -> float:
        asked.append(candidate.design.name)
        return size(candidate)

    found = ps.run(spec, evaluate=evaluate, ledger=tmp_path / "mine.db", recipe="size")
    assert len(set(asked)) == len(asked) == 5
    front = ps.front(found)
    assert [member.cost for member in front] == sorted(member.cost for member in front)
    assert ps.best(found) == front[-1]
    assert ps.best(found, "<=0.1").cost <= 0.1
    assert ps.best(found).value == size(ps.best(found).evaluation.candidate)
    assert repr(front[-1]).startswith(f"{front[-1].design}: {front[-1].value:.4f} at ")

    # The same call measures nothing again; a longer one goes on.
    again = ps.run(spec, evaluate=evaluate, ledger=tmp_path / "mine.db", recipe="size")
    assert len(asked) == 5
    assert ps.front(again) == front
    more = ps.load("quickstart", **{**SMALL, "budget": {"trials": 7}})
    ps.run(more, evaluate=evaluate, ledger=tmp_path / "mine.db", recipe="size")
    assert len(set(asked)) == len(asked) == 7
    assert len(ps.read_run("quickstart", ledger=tmp_path / "mine.db").evaluations) == 7


def test_an_evaluator_may_answer_with_metrics_or_fail(tmp_path: Path) -> None:
    spec = ps.load("quickstart", **SMALL)
    count = iter(range(100))

    def evaluate(candidate: ps.Candidate) -> dict[str, float]:
        if next(count) == 2:
            raise RuntimeError("out of luck")
        return {"bbox_mAP": size(candidate), "bbox_mAP_50": 1.0}

    found = ps.run(spec, evaluate=evaluate, ledger=tmp_path / "mine.db")
    assert [evaluation.error for evaluation in found.failures] == ["RuntimeError: out of luck"]
    assert ps.best(found).evaluation.metrics["bbox_mAP_50"] == 1.0

    def on_a_full_disk(candidate: ps.Candidate) -> float:
        raise OSError(errno.ENOSPC, "No space left on device")

    halted = ps.run(spec, evaluate=on_a_full_disk, ledger=tmp_path / "full.db")
    assert halted.halted
    assert halted.failures == []
    with pytest.raises(LedgerError, match="other"):
        ps.run(spec, evaluate=size, ledger=tmp_path / "mine.db", recipe="another")


def test_a_run_is_reported_and_a_design_exported(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("mmdet")
    ledger = tmp_path / "mine.db"
    ps.run(ps.load("quickstart", **SMALL), evaluate=size, ledger=ledger, name="mine")
    text = ps.write_report("mine", tmp_path / "mine.md", ledger=ledger).read_text(encoding="utf-8")
    assert "mine" in text
    written = ps.export_design("mine", "<=0.1", tmp_path / "out", ledger=ledger, home=tmp_path, proof=False)
    assert (written.folder / "config.py").is_file()
    with pytest.raises(ps.UserError, match="a report must end in"):
        ps.write_report("mine", tmp_path / "mine.txt", ledger=ledger)


def test_what_is_wrong_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"budget\.trials"):
        ps.load("quickstart", budget={"trials": 0})
    with pytest.raises(ps.UserError, match="no search space 'nosuch'"):
        ps.load("nosuch")
    with pytest.raises(ps.UserError, match="leave on, address and mlflow out"):
        ps.run(ps.load("quickstart"), evaluate=size, ledger=tmp_path / "x.db", on="ray")
    with pytest.raises(ps.UserError, match="no place 'moon' to measure candidates; give ray or local"):
        ps.run(ps.load("quickstart"), ledger=tmp_path / "x.db", on="moon")
    with pytest.raises(ps.UserError, match="address auto names a Ray cluster"):
        ps.run(ps.load("quickstart"), ledger=tmp_path / "x.db", address="auto")
    found = ps.run(ps.load("quickstart", budget={"trials": 1}), evaluate=lambda _: 1 / 0, ledger=tmp_path / "x.db")
    with pytest.raises(ChoiceError, match="no finished evaluation"):
        ps.front(found)


def test_what_there_is_to_choose_from() -> None:
    assert {"vit_t", "vit_s", "vit_b"} <= set(ps.list_backbones("vit_*"))
    assert all(name.startswith("convnext") for name in ps.list_backbones("convnext*"))
    assert {"coco", "quickstart"} <= set(ps.list_spaces())
    assert ps.list_tasks() == ["classification", "detection"]
    cost = ps.price(ps.Architecture.parse("vit_b@672:w14+vit_s@1120:w14*12"))
    assert cost.gmacs > 100


def test_a_space_is_loaded_by_name_path_or_content() -> None:
    spec = ps.load("quickstart")
    assert ps.load(ROOT / "search_spaces" / "quickstart.yaml") == spec
    assert ps.load(spec.model_dump(mode="json")) == spec
    changed = ps.load("quickstart", seed=3, budget={"trials": 9})
    assert (changed.seed, changed.budget.trials) == (3, 9)
    assert changed.limit == spec.limit


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(1), 0.25, Fraction(1, 2)])
def test_a_metric_may_be_any_number(tmp_path: Path, number: Any) -> None:
    for _ in range(2):  # the second call reads the first one's rows
        spec = ps.load("quickstart", budget={"trials": 1})
        found = ps.run(spec, evaluate=lambda _: {"bbox_mAP": number}, ledger=tmp_path / "x.db")
        assert found.evaluations[0].metrics == {"bbox_mAP": float(number)}


@pytest.mark.parametrize(("value", "said"), [(True, "be a number, got True"), (1e20, "be within"), ("1", "got '1'")])
def test_what_is_no_metric_is_a_failure_that_can_be_read(tmp_path: Path, value: Any, said: str) -> None:
    for _ in range(2):
        spec = ps.load("quickstart", budget={"trials": 1})
        found = ps.run(spec, evaluate=lambda _: {"bbox_mAP": value}, ledger=tmp_path / "x.db")
        assert said in found.evaluations[0].error
