"""A task whose data say how many outputs a network has."""

from typing import ClassVar

import pytest

from piip_search.architecture.segments import Merge
from piip_search.config import SearchSpec, parse_spec
from piip_search.cost import price, training_bytes
from piip_search.search.feasible import feasible_designs
from piip_search.sections import DataSection
from piip_search.sections.fields import Count
from piip_search.tasks import TASKS
from shades.task import Shades, ShadesData

CLASSES = 10


class LabelledData(ShadesData):
    """Images with one of some labels each."""

    classes: Count = CLASSES

    @property
    def outputs(self) -> int | None:
        return self.classes


class Labels(Shades):
    """Classification of these."""

    merges: ClassVar[tuple[Merge, ...]] = ("logits",)
    data: ClassVar[type[DataSection]] = LabelledData


@pytest.fixture
def labels(spec: SearchSpec, monkeypatch: pytest.MonkeyPatch) -> SearchSpec:
    """The small space for that task."""
    monkeypatch.setitem(TASKS, "labels", Labels(heads={}))
    content = spec.model_dump(mode="json", exclude_defaults=True)
    space = {**content["space"], "merges": ["logits"]}
    changes = {"task": "labels", "metric": "closeness", "data": {"embedded": "grey"}, "space": space}
    return parse_spec({**content, **changes})


def test_a_limit_counts_the_classes_of_the_data(labels: SearchSpec) -> None:
    space, legal = feasible_designs(labels)
    for place in range(0, len(legal), max(1, len(legal) // 20)):
        design = space.decode(legal.rows_ND[place])
        cost = price(design, "backbone", outputs=CLASSES)
        assert (legal.macs_N[place], legal.params_N[place]) == (cost.macs, cost.params)
        assert labels.objectives.price(design) == cost.gmacs
        assert cost.params < price(design, "backbone").params
    assert labels.step.outputs == CLASSES


def test_another_number_of_classes_is_another_price(labels: SearchSpec) -> None:
    more = parse_spec({**labels.model_dump(mode="json"), "data": {"embedded": "grey", "classes": 100}})
    space, legal = feasible_designs(labels)
    design = space.decode(legal.rows_ND[0])
    assert more.pricing.price(design).params > labels.pricing.price(design).params
    assert training_bytes(design, more.step) > training_bytes(design, labels.step)


def test_the_papers_convention_counts_the_papers_classes(labels: SearchSpec) -> None:
    content = {**labels.model_dump(mode="json"), "limit": {"gmacs": [0.1], "convention": "published"}}
    published = parse_spec(content)
    space, legal = feasible_designs(published)
    design = space.decode(legal.rows_ND[0])
    assert published.pricing.price(design) == price(design, "published")
    assert legal.macs_N[0] == price(design, "published").macs


def test_what_is_counted_is_what_is_built(labels: SearchSpec) -> None:
    torch = pytest.importorskip("torch")
    from piip_search.models import PIIP
    from support.counting import counted_macs, parameters

    space, legal = feasible_designs(labels)
    design = space.decode(legal.rows_ND[len(legal) // 2])
    with torch.device("meta"):
        network = PIIP(design, outputs=CLASSES).eval()
        image = torch.zeros(1, 3, design.resolution, design.resolution)
    cost = labels.pricing.price(design)
    assert (counted_macs(network, image), parameters(network)) == (cost.macs, cost.params)
