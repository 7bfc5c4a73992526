"""The section `evaluator` of a search: which one measures, and what its answers depend on."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pytest

from piip_search.config import SearchSpec, SpecError, load_spec, parse_spec
from piip_search.config.evaluator import EVALUATOR_SECTIONS, EvaluatorSection
from piip_search.sections import Section
from support import ROOT

FINGERPRINTS = {
    "tests/support/spaces/former_quickstart.yaml": ("97cb8e5afdf189d9", "45f45673adab65ea"),
}
"""Question, and recipe for the data `data`, of a space before evaluators could be chosen."""


class CheckSection(Section):
    designs: int = 8


class ParentSection(EvaluatorSection):
    """Stands in for an evaluator that prepares something from the space."""

    prepared_from: ClassVar[tuple[str, ...] | None] = ("space", "limit", "seed")
    scoring: ClassVar[tuple[str, ...]] = ("score", "check")
    kind: Literal["parent"]
    epochs: int = 36
    score: Literal["loss", "metric"] = "loss"
    check: CheckSection = CheckSection()


@pytest.fixture
def _parent() -> Iterator[None]:
    EVALUATOR_SECTIONS["parent"] = ParentSection
    yield
    del EVALUATOR_SECTIONS["parent"]


def with_evaluator(spec: SearchSpec, evaluator: Any, **changes: Any) -> SearchSpec:
    return parse_spec({**spec.model_dump(mode="json"), "evaluator": evaluator, **changes})


@pytest.mark.parametrize("file", FINGERPRINTS)
@pytest.mark.parametrize("chosen", [None, "stand_alone", {"kind": "stand_alone"}])
def test_the_default_leaves_all_fingerprints_as_they_are(file: str, chosen: Any) -> None:
    spec = load_spec(ROOT / file)
    if chosen is not None:
        content = spec.model_dump(mode="json", exclude_unset=True)
        spec = parse_spec({**content, "evaluator": chosen})
    assert (spec.question, spec.recipe("data")) == FINGERPRINTS[file]
    assert spec.preparation("data") is None
    assert spec.model_dump(mode="json")["evaluator"] == {"kind": "stand_alone"}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("stand", "evaluator: unknown kind 'stand'; did you mean stand_alone?"),
        ({"kind": "nothing"}, "evaluator: unknown kind 'nothing'; known: stand_alone, shared, parent"),
        (
            {"epochs": 3},
            r"evaluator: must be the name of an evaluator, or a mapping with its kind \(stand_alone, shared, pare",
        ),
        (3, r"evaluator: must be the name .* got 3"),
        ({"kind": "stand_alone", "epochs": 3}, "evaluator: epochs: unknown key; known: kind"),
        ({"kind": "parent", "epocs": 3}, "evaluator: epocs: unknown key; did you mean epochs?"),
        ({"kind": "parent", "epochs": "3"}, "evaluator: epochs: input should be a valid integer, got '3'; write 3"),
        ({"kind": "parent", "check": {"desings": 3}}, "evaluator: check.desings: unknown key; did you mean designs?"),
    ],
)
@pytest.mark.usefixtures("_parent")
def test_what_is_wrong_is_told_with_what_is_known(spec: SearchSpec, chosen: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        with_evaluator(spec, chosen)


@pytest.mark.usefixtures("_parent")
def test_an_evaluator_enters_the_fingerprints(spec: SearchSpec) -> None:
    parent = with_evaluator(spec, "parent")
    longer = with_evaluator(spec, {"kind": "parent", "epochs": 40})
    otherwise = with_evaluator(spec, {"kind": "parent", "score": "metric"})
    assert len({found.question for found in (spec, parent, longer, otherwise)}) == 4
    assert len({found.recipe("data") for found in (spec, parent, longer, otherwise)}) == 4
    assert parent.preparation("data") == otherwise.preparation("data") != longer.preparation("data")
    assert with_evaluator(spec, {"kind": "parent", "epochs": 36}).recipe("data") == parent.recipe("data")
    assert parse_spec(parent.model_dump(mode="json")) == parent


@pytest.mark.usefixtures("_parent")
def test_a_preparation_depends_on_what_the_evaluator_names(spec: SearchSpec) -> None:
    parent = with_evaluator(spec, "parent")
    others = [
        with_evaluator(spec, "parent", seed=1),
        with_evaluator(spec, "parent", limit={"gmacs": [0.02]}),
        with_evaluator(spec, "parent", training={"learning_rate": 0.5}),
    ]
    prepared = {parent.preparation("other data"), *(found.preparation("data") for found in (parent, *others))}
    assert len(prepared) == 5
    assert len({parent.recipe("other data"), *(found.recipe("data") for found in (parent, *others))}) == 5
    same = [with_evaluator(spec, "parent", budget={"trials": 3}), with_evaluator(spec, "parent", sampler="random")]
    assert {found.recipe("data") for found in same} == {parent.recipe("data")}
