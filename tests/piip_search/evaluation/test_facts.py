"""Facts of an evaluation as the ledger keeps them, also those that earlier versions wrote."""

import json
from typing import Any

import pytest

from piip_search.evaluation.facts import Facts


def test_facts_survive_plain_data() -> None:
    facts = Facts(
        host="node-1",
        images=64,
        unreadable_images=1,
        unreadable=("a.png",),
        seeds={"0": {"bbox_mAP": 0.1}, "1": {"bbox_mAP": 0.3}},
        deviation={"bbox_mAP": 0.14},
        rest={"gpu": "H200"},
    )
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_what_is_not_known_is_not_kept() -> None:
    assert Facts().to_dict() == {}
    assert Facts.from_dict({}) == Facts()


@pytest.mark.parametrize(
    "data",
    [
        {"host": 3, "torch": None},
        {"seeds": "no", "deviation": ["no"]},
        {"seeds": {"0": "no"}, "unreadable": [1], "images": "many"},
    ],
)
def test_a_value_of_another_type_is_kept_and_not_trusted(data: dict[str, Any]) -> None:
    facts = Facts.from_dict(data)
    assert facts == Facts(rest=data)
    assert facts.to_dict() == data
