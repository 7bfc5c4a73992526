from typing import Any

import numpy as np
import pytest

from piip_search.config import SearchSpec, SpecError, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.cost import memory, price
from piip_search.search.plan import make_plan

SPEC: dict[str, Any] = {
    "name": "planned",
    "space": {
        "backbones": ["vit_t", "vit_s"],
        "resolutions": [224, 448],
        "windows": [14],
        "interactions": [0, 6],
        "branches": [1, 2],
    },
    "limit": {"gmacs": [5, 20]},
    "budget": {"trials": 4},
    "data": {"embedded": "digits"},
    "fidelity": {"epochs": 2, "data_fraction": 0.5, "image_scale": 0.5},
    "training": {"detector": "retinanet", "channels": 64, "batch_size": 4},
}


def spec(**changes: Any) -> SearchSpec:
    return parse_spec({**SPEC, **changes})


def test_a_plan_counts_by_hand() -> None:
    made = make_plan(spec(), "x", (160, 40), 1.0)
    designs = [
        "vit_t@224:w14",
        "vit_t@448:w14",
        "vit_s@224:w14",
        "vit_s@448:w14",
        "vit_s@224:w14+vit_t@448:w14*0",
        "vit_s@224:w14+vit_t@448:w14*6",
    ]
    from piip_search.architecture import Architecture

    parsed = [Architecture.parse(name) for name in designs]
    costs = sorted(price(design).gmacs for design in parsed)
    assert made.designs == sum(made.counts) == len(designs)
    assert [tier.designs for tier in made.tiers] == [sum(cost <= tier for cost in costs) for tier in (5, 20)]
    assert made.within == made.tiers[-1].designs
    assert (made.cheapest[1], made.dearest[1]) == pytest.approx((costs[0], costs[-1]))
    assert made.edges[0] <= costs[0] <= costs[-1] <= made.edges[-1]
    assert len(made.edges) == len(made.counts) + 1
    largest = max(
        (d for d in parsed if price(d).gmacs <= 20),
        key=lambda d: memory(d.scaled(0.5), "whole", None, spec().head, images=4).training,
    )
    assert made.largest[0] == largest


def test_effort_is_work_over_throughput() -> None:
    one = make_plan(
        spec(space={**SPEC["space"], "backbones": ["vit_t"], "resolutions": [448], "branches": [1]}),
        "x",
        (160, 40),
        2.0,
    )
    macs = price(one.cheapest[0].scaled(0.5), "whole", None, spec().head).macs
    assert one.effort is not None
    assert one.effort.train_images == 80
    assert one.effort.mean_hours == pytest.approx((3 * 80 * 2 + 40) * macs / 2e12 / 3600)
    # One design only: the search ends before its budget does.
    assert one.effort.search_hours == pytest.approx(one.effort.mean_hours)


def test_without_the_data_the_effort_is_not_known() -> None:
    made = make_plan(spec(), "x", None, 1.0)
    assert made.effort is None
    assert made.to_dict()["effort"] is None


def test_the_coco_space_places_the_published_designs() -> None:
    made = make_plan(load_spec(find_space("coco")), "coco", None, 20.0)
    assert made.designs >= 1_000_000
    held = {one.row.id for one in made.published if not one.reasons}
    assert {"det_t12_tsb_1568_1120_672", "det_t12_tsbl_1568_1120_672_448", "det_t1_vitdet_b_1024"} & held
    assert [one.cost for one in made.published] == sorted(one.cost for one in made.published)
    assert np.all(np.diff(made.edges) > 0)


def test_how_trials_share_a_gpu() -> None:
    made = make_plan(spec(resources={"gpu": "auto", "gpu_memory": 1.9}), "x", None, 1.0)
    whole = make_plan(spec(), "x", None, 1.0)
    assert whole.placement is None
    assert made.placement is not None
    assert made.placement.refused == whole.within - made.within > 0
    assert 0.05 <= made.placement.least < made.placement.mean < made.placement.most <= 1
    assert made.to_dict()["placement"]["refused"] == made.placement.refused


def test_an_impossible_limit_is_said() -> None:
    with pytest.raises(SpecError, match=r"no design costs 0\.1 G or less"):
        make_plan(spec(limit={"gmacs": [0.1, 20]}), "x", None, 1.0)
    with pytest.raises(SpecError, match=r"no design of at most 10 M costs 2 G or less|limit.mparams: no design costs"):
        make_plan(spec(limit={"gmacs": [2], "mparams": 3}), "x", None, 1.0)


def test_a_space_too_large_to_look_through_is_said_at_once() -> None:
    space = {
        "backbones": ["vit_t", "vit_s", "vit_b", "vit_l"],
        "resolutions": list(range(224, 1793, 112)),
        "windows": [14, 28, "global"],
        "interactions": [0, 1, 2, 3, 4, 6, 12],
        "branches": [4],
        "pairing": "free",
    }
    with pytest.raises(SpecError, match=r"has 1e\+09 combinations, and at most 2e\+08 can be enumerated"):
        make_plan(spec(space=space), "x", None, 1.0)
