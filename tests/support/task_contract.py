"""What every task must do: subclass and give the fixture."""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, SpecError, parse_spec
from piip_search.cost import price
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.export import RANDOM, Export, prepared_folder, write_export
from piip_search.tasks import TASKS, Head, Task
from piip_workers.tasks import WORKERS, TaskWorker


@dataclass(frozen=True)
class TaskCase:
    """A task with what its contract needs.

    Attributes:
        task: Its name.
        space: Content of a file of the task, with data that are here and a training that learns in some epochs.
        bad_data: Sections `data` that cannot be used, and a part of the one line about each.
        design: A design of the space that trains in seconds.
        epochs: Epochs in which the loss falls.
        counted: Multiply-accumulates and parameters of a head by its modules, for a design; None for no head.
    """

    task: str
    space: Mapping[str, Any]
    bad_data: tuple[tuple[Mapping[str, Any], str], ...]
    design: str
    epochs: int = 2
    counted: Callable[[Head, Architecture], tuple[int, int]] | None = None

    @property
    def spec(self) -> SearchSpec:
        return parse_spec(self.space)


class TaskContract:
    """Give `case`."""

    @pytest.fixture
    def case(self) -> TaskCase:
        raise NotImplementedError

    @pytest.fixture
    def task(self, case: TaskCase) -> Task:
        return TASKS[case.task]

    @pytest.fixture
    def worker(self, case: TaskCase) -> TaskWorker:
        return WORKERS[case.task]

    def test_every_metric_says_what_it_is(self, task: Task) -> None:
        assert len({metric.name for metric in task.metrics}) == len(task.metrics) > 0
        for metric in task.metrics:
            assert metric.direction in ("higher", "lower")
            assert math.isfinite(metric.least)
            assert metric.least < metric.greatest < math.inf
            assert metric.title
            assert metric.about.endswith(".")
            assert "\n" not in metric.about

    def test_a_search_knows_the_ends_of_a_metric(self, case: TaskCase, task: Task) -> None:
        for metric in task.metrics[:1]:
            (axis,) = parse_spec({**case.space, "metric": metric.name}).objectives.metrics
            assert axis.rises == (metric.direction == "higher")
            assert {axis.best, axis.worst} == {metric.least, metric.greatest}

    def test_the_registries_know_it(self, case: TaskCase, task: Task) -> None:
        from piip_dashboards.tasks import DRAWINGS

        assert task.name == case.task
        assert DRAWINGS[case.task].template.is_file()
        assert task.formats
        assert task.schedules
        assert task.files
        module, _, function = WORKERS[case.task].measure.partition(":")
        assert importlib.util.find_spec(module)
        assert function

    def test_its_usual_sections_need_no_words(self, case: TaskCase) -> None:
        plain = parse_spec({name: part for name, part in case.space.items() if name != "training"})
        assert plain.training == TASKS[case.task].training()
        assert plain == parse_spec(plain.model_dump(mode="json"))
        assert plain.question == parse_spec({**plain.model_dump(mode="json")}).question

    @pytest.mark.parametrize("section", ["data", "training"])
    def test_an_unknown_key_is_told_with_the_keys_of_the_task(self, case: TaskCase, task: Task, section: str) -> None:
        keys = getattr(task, section).model_fields
        content = {**case.space, section: {**case.space.get(section, {}), "xqzw": 1}}
        with pytest.raises(SpecError) as caught:
            parse_spec(content)
        (line,) = caught.value.problems
        assert line == f"{section}.xqzw: unknown key; known: {', '.join(keys)}"

    def test_a_merge_that_it_cannot_read_is_refused(self, case: TaskCase, task: Task) -> None:
        merges = ("conv", "linear", "residual", "pyramid", "logits", "tokens")
        other = next(merge for merge in merges if merge not in task.merges)
        with pytest.raises(SpecError, match=rf"space\.merges\[0\]: the task {case.task} cannot read what {other}"):
            parse_spec({**case.space, "space": {**case.space["space"], "merges": [other]}})

    def test_bad_data_is_one_clear_error(self, case: TaskCase, worker: TaskWorker) -> None:
        assert worker.examine(case.spec, lambda line: None).problems == []
        assert case.bad_data
        for data, part in case.bad_data:
            (line,) = worker.examine(parse_spec({**case.space, "data": data}), lambda line: None).problems
            assert part in line
            assert "\n" not in line

    def test_the_fingerprint_of_data_stays(self, case: TaskCase, worker: TaskWorker) -> None:
        worker.prepare(case.spec.data)
        one, other = (worker.fingerprint(case.spec.data, lambda done, total: None) for _ in range(2))
        assert one == other
        assert worker.image_counts(case.spec.data) is not None

    def test_the_closed_form_of_a_head_is_what_is_counted(self, case: TaskCase, task: Task) -> None:
        assert (case.counted is None) == (not task.heads)
        design = Architecture.parse(case.design)
        for head in task.heads.values() if case.counted else ():
            whole, backbone = price(design, "whole", head=head), price(design, "backbone")
            assert case.counted is not None
            assert (whole.macs - backbone.macs, whole.params - backbone.params) == case.counted(head, design)

    @pytest.mark.slow
    def test_a_proxy_trains_and_its_loss_falls(self, case: TaskCase, worker: TaskWorker, tmp_path: Path) -> None:
        worker.prepare(case.spec.data)
        found = measured(case, worker, tmp_path)
        assert found.error == ""
        assert found.history[-1]["loss"] < found.history[0]["loss"]
        names = {metric.name for metric in TASKS[case.task].metrics}
        assert TASKS[case.task].metrics[0].name in found.metrics
        assert set(found.metrics) <= names

    @pytest.mark.slow
    def test_its_export_parses_builds_and_trains_a_step(
        self, case: TaskCase, task: Task, worker: TaskWorker, tmp_path: Path
    ) -> None:
        from piip_workers.networks.proof import Proof

        worker.prepare(case.spec.data)
        folder, plan = tmp_path / "out", worker.plan(case.spec, task.schedules[0])
        export = Export(Architecture.parse(case.design), plan, task.formats[:1], start=RANDOM)
        with prepared_folder(folder, task.files):
            write_export(export, folder)
        assert (folder / task.files[0]).is_file()
        proof = Proof()
        worker.prove(export, folder, proof)
        assert proof.failures == []
        said = " ".join(check.name for check in proof.checks)
        assert all(word in said for word in ("parses", "builds", "step"))


def measured(case: TaskCase, worker: TaskWorker, folder: Path) -> Evaluation:
    """The evaluation of the case's design by the worker's own function."""
    module, _, function = worker.measure.partition(":")
    settings = case.spec.model_dump(mode="json", include={"data", "training"})
    candidate = Candidate(0, Architecture.parse(case.design), Fidelity(case.epochs), seed=0)
    return cast(
        Evaluation, getattr(importlib.import_module(module), function)(candidate, **settings, directory=str(folder))
    )
