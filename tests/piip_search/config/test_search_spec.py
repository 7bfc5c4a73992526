import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.architecture import Architecture
from piip_search.config import SearchSpec, SpecError, load_spec, parse_spec
from piip_search.config.shipped import find_space, shipped_spaces
from piip_search.config.yaml_file import write_yaml
from piip_search.cost.gpu_share import max_step_bytes, process_bytes, share_of, torch_fraction
from piip_search.evaluation.evaluation import Candidate
from piip_search.search.feasible import feasible_designs
from piip_search.units import GIB

GOOD: dict[str, Any] = {
    "name": "good",
    "space": {"backbones": ["vit_b", "vit_t"], "resolutions": [224, 448], "branches": [1, 2], "interactions": [0, 6]},
    "limit": {"gmacs": [100]},
    "data": {"embedded": "digits"},
}


def broken(**changes: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    for place, value in changes.items():
        section, _, key = place.rpartition("__")
        (content[section] if section else content)[key] = value
    return content


def problems(content: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(content, "file.yaml")
    assert str(caught.value).startswith("file.yaml: ")
    return caught.value.problems


@pytest.mark.parametrize("name", list(shipped_spaces()))
def test_shipped_spaces_are_sound(name: str) -> None:
    spec = load_spec(find_space(name))
    _, designs = feasible_designs(spec)
    assert spec.name == name.rpartition("/")[2]
    # Where designs share one training, scoring a design costs next to nothing.
    most = 1 if spec.evaluator.kind == "shared" else 3
    assert len(designs) > most * spec.budget.trials


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (broken(smapler="tpe"), ["smapler: unknown key; did you mean sampler?"]),
        (broken(space__resolution=[32]), ["space.resolution: unknown key; did you mean resolutions?"]),
        (broken(seed="one"), ["seed: input should be a valid integer, got 'one'"]),
        (broken(name="../x"), ["name: string should match pattern"]),
        (broken(space__resolutions=[100, 224]), ["space.resolutions[0]: resolution must be a positive multiple"]),
        (broken(space__backbones=["vit_b", "vit_tt"]), ["space.backbones[1]: unknown backbone 'vit_tt'; did you mean"]),
        (broken(space__interactions=[13]), ["space.interactions[0]: no two backbones of this space can interact 13"]),
        (
            broken(space__windows=["14g1"]),
            ["space.windows[0]: a window must be a number of tokens, global, or like 14g3"],
        ),
        (broken(space__merges=["logits"]), ["space.merges[0]: the task detection cannot read what logits gives"]),
        (
            broken(space__backbones=["convnext_t", "vit_t"], space__merges=["conv"]),
            ["space.merges: convnext_t can only be merged into a pyramid"],
        ),
        (broken(space__steps=[2, 1]), ["space.steps: steps must be two ratios, 1 <= least <= greatest"]),
        (broken(space__backbones=["vit_w10_d2_h3"]), ["space.backbones[0]: a ViT has positive width"]),
        (broken(training={"cuda_graphs": True, "checkpointing": True}), ["training: cuda_graphs replays steps"]),
        (
            broken(training={"cuda_graphs": True}, resources={"gpu": "auto", "gpu_memory": 80}),
            ["file: resources.gpu auto goes by predicted memory"],
        ),
        (broken(training={"layer_decay": 2.0}), ["training.layer_decay: input should be less than or equal to 1"]),
        (broken(space__branches=[3]), ["space.branches: 3 inverted branches need as many models and image sizes"]),
        (broken(space__branches=[5]), ["space.branches[0]: input should be less than or equal to 4, got 5"]),
        (broken(limit__gmacs=[-1]), ["limit.gmacs[0]: input should be greater than 0, got -1"]),
        (broken(schedule={"rungs": []}), ["schedule.rungs: tuple should have at least 1 item"]),
        (broken(schedule={"rungs": [3, 1]}), ["schedule: rungs must rise, each once, got [3, 1]"]),
        (broken(schedule={"rungs": [1], "brackets": 3}), ["schedule: brackets start at the 1 rungs or at the whole"]),
        (broken(schedule={"rungs": [1], "keep": 1}), ["schedule.keep: input should be greater than or equal to 2"]),
        (broken(schedule={"rungs": [1, 12]}), ["file: schedule.rungs come before the whole training of 12 epochs"]),
        (broken(budget={"gpu_hours": 5}), ["file: budget.gpu_hours are never spent with resources.gpu 0"]),
        (broken(resources={"gpu": "all"}), ["resources.gpu: gpu must be a number from 0 to 1, or auto"]),
        (broken(resources={"gpu": 1.5}), ["resources.gpu: gpu must be a number from 0 to 1, or auto"]),
        (broken(resources={"gpu": 2}), ["resources.gpu: a trial trains on one GPU, got 2, and the others would be"]),
        (broken(resources={"gpu": 8, "gpu_memory": 80}), ["resources.gpu: a trial trains on one GPU, got 8"]),
        (broken(resources={"gpu": float("nan")}), ["resources.gpu: gpu must be a number from 0 to 1"]),
        (broken(resources={"gpu": "auto"}), ["resources: gpu: auto shares a GPU by its memory; give its memory"]),
        (broken(resources={"gpu_memory": 80}), ["resources: gpu_memory is for trials on GPUs, and gpu is 0"]),
        (broken(resources={"custom": {"GPU": 1}}), ["resources.custom: custom resources have names of the cluster's"]),
        (broken(resources={"custom": {"a100": 1.5}}), ["resources.custom: an amount above one must be a whole number"]),
        (broken(resources={"custom": {"a100": 0}}), ["resources.custom.a100: input should be greater than 0, got 0"]),
        (broken(budget={"least_gain": 0.1}, sampler="tpe"), ["file: budget.least_gain is estimated by the sampler"]),
        (broken(prior="published", sampler="tpe"), ["file: prior is for the sampler piip, not for tpe"]),
        (broken(budget={"target": "AP > 0.3"}), ["budget.target: target must be like best >= 0.3, or best <= 500 G"]),
        (broken(budget={"target": "best <= 9e9 G >= .3"}), ["budget.target: target must be like best >= 0.3"]),
        (broken(budget={"target": "best <= 99999 G >= 0.3"}), ["file: budget.target asks for a design within 99999"]),
        (broken(limit__gmacs=[]), ["limit.gmacs: tuple should have at least 1 item"]),
        (broken(metric="bbox_map"), ["metric: unknown metric 'bbox_map'"]),
        (broken(metric="segm_mAP"), ["file: metric segm_mAP needs a detector with masks, got retinanet"]),
        (broken(training={"detector": "fcos", "channels": 48}), ["training: channels must be a multiple of 32"]),
        (broken(training={"detector": "fcos", "anchor_scale": 2.0}), ["training: anchor_scale has no meaning"]),
        (broken(training={"detector": "dinno"}), ["training: unknown detector 'dinno'; did you mean dino?"]),
        (broken(training={"detector": "atss", "anchor_scale": 2.0}), ["training: anchor_scale is for retinanet and"]),
        (
            broken(training={"detector": "atss"}, limit={"gmacs": [1], "convention": "detector"}),
            ["file: limit.convention whole counts fcos, retinanet, mask_rcnn, not atss; set it to backbone"],
        ),
        (
            broken(training={"scale_jitter": [1.2, 0.8]}),
            ["training.scale_jitter: a jitter must be the least and the great"],
        ),
        (broken(fidelity={"epochs": 5, "horizon": 3}), ["fidelity: horizon is the epochs that the schedule spans"]),
        (
            broken(baselines=["vit_bb@224:g", "retinanet_r8@64", "retinanet_r18@x", "vit_b@224:g"]),
            [
                "baselines[0]: 'vit_bb@224:g' is neither a design (unknown backbone 'vit_bb'",
                "baselines[1]: unknown baseline 'retinanet_r8@64'; did you mean retinanet_r18?",
                "baselines[2]: an image side must be a number of pixels such as retinanet_r18@512",
            ],
        ),
        (broken(baselines=["mmdet::../x.py"]), ["baselines[0]: 'mmdet::../x.py' is neither a design"]),
        (broken(baselines=["vit_b@224:g/logits"]), ["baselines[0]: the task detection cannot read what logits gives"]),
        (
            broken(baselines=["a@b/x.py@0"]),
            ["baselines[0]: an image side must be a number of pixels such as a@b/x.py@512"],
        ),
        (broken(baselines="published"), ["baselines: input should be a valid tuple, got 'published'"]),
        (
            broken(baselines=["retinanet_r18@64"], limit={"training_gib": [8]}),
            ["file: baselines: retinanet_r18@64 has no known cost on the axis training_gib"],
        ),
        (broken(data={}), ["data: give root, train and val of a COCO-format data set, or embedded: digits"]),
        (broken(data={"embedded": "digits", "root": "x"}), ["data: give either embedded or root"]),
        ({"name": "x"}, ["space: missing", "limit: missing", "data: missing"]),
        ([1, 2], ["must be a mapping"]),
        (None, ["must be a mapping"]),
    ],
)
def test_each_fault_is_one_line_with_its_place(content: object, lines: list[str]) -> None:
    found = problems(content)
    assert len(found) == len(lines)
    for line, expected in zip(found, lines, strict=True):
        assert line.startswith(expected)


def test_all_faults_are_reported_at_once() -> None:
    found = problems(broken(smapler="tpe", seed=-1, space__resolutions=[100], space__backbones=["vitb"]))
    assert len(found) == 4


def test_a_ledger_may_hold_a_search_that_reserved_several_gpus() -> None:
    assert parse_spec(broken(resources={"gpu": 2}), "run old", recorded=True).resources.gpu == 2


def test_yaml_syntax_names_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("name: x\nspace: [1, 2\nlimit: 3\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"line 3, column 6: not YAML"):
        load_spec(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="did you mean quickstart"):
        find_space("quikstart")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit__gmacs": [0.5, 100]}, "the cheapest costs"),
        ({"limit": {"gmacs": [100], "mparams": 1}}, "limit.mparams: no design costs 1 M or less: the cheapest costs"),
        (
            {
                "space": {
                    "backbones": ["vit_t"],
                    "resolutions": [224],
                    "branches": [2],
                    "pairing": "free",
                    "interactions": [0],
                },
                "limit": {"gmacs": [0.1]},
            },
            "the cheapest costs",
        ),
    ],
)
def test_an_impossible_limit_names_the_cheapest_design(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        feasible_designs(parse_spec(broken(**changes)))


MEMORY = {"resources": {"gpu": "auto", "gpu_memory": 2}, "training": {"batch_size": 4, "channels": 64}}


def test_designs_that_do_not_fit_the_memory_are_not_legal() -> None:
    spec = parse_spec(broken(**MEMORY))
    every, fitting = feasible_designs(parse_spec(GOOD))[1], feasible_designs(spec)[1]
    assert fitting.training_N is not None
    assert 0 < len(fitting) < len(every)
    assert process_bytes(int(fitting.training_N.max())) <= 2 * GIB
    space = spec.space.build()
    ends = (fitting.training_N.argmin(), fitting.training_N.argmax())
    small, large = (space.decode(fitting.rows_ND[place]) for place in ends)
    assert 0.05 <= spec.gpu_of(small) < spec.gpu_of(large) <= 1
    half = parse_spec(broken(**{**MEMORY, "resources": {"gpu": 0.75, "gpu_memory": 2}}))
    assert len(feasible_designs(half)[1]) < len(fitting)
    assert half.gpu_of(large) == 0.75


def test_a_gpu_that_is_too_small_is_said_with_the_smallest_design() -> None:
    spec = parse_spec(broken(resources={"gpu": 1, "gpu_memory": 1.5}))
    with pytest.raises(SpecError, match=r"resources.gpu_memory: no design's training fits 1.5 GiB: the smallest needs"):
        feasible_designs(spec)


def test_a_gpu_that_is_too_small_is_said_with_what_would_help() -> None:
    usual = {"resources": {"gpu": 1, "gpu_memory": 1.01}, "training": {"batch_size": 2}}
    least = {"batch_size": 1, "precision": "bfloat16", "checkpointing": True}
    said = []
    for changes in (usual, {**usual, "training": least}):
        with pytest.raises(SpecError) as caught:
            feasible_designs(parse_spec(broken(**changes)))
        said.append(caught.value.problems[0].partition("; ")[2])
    assert said == [
        "lower training.batch_size, lower fidelity.image_scale, set training.precision to bfloat16, set "
        "training.checkpointing, or offer smaller designs",
        "lower fidelity.image_scale, or offer smaller designs",
    ]


@given(st.integers(0, 2**40), st.floats(1.5, 200))
def test_shares_hold_what_is_needed_and_no_step_more(training: int, gpu_memory: float) -> None:
    share = share_of(training, gpu_memory)
    fits = training <= max_step_bytes(gpu_memory)
    assert 0.05 <= share <= 1
    assert round(share / 0.05) * 0.05 == pytest.approx(share)
    assert not fits or process_bytes(training) <= share * gpu_memory * GIB * (1 + 1e-6)
    assert share == 0.05 or process_bytes(training) > (share - 0.05) * gpu_memory * GIB
    assert fits == (process_bytes(training) <= gpu_memory * GIB)
    assert torch_fraction(share, round(gpu_memory * GIB)) <= share or share == 1


def test_rungs_are_one_training() -> None:
    spec = parse_spec(broken(schedule={"rungs": [1, 3]}, fidelity={"epochs": 9, "data_fraction": 0.5}))
    assert [(rung.epochs, rung.schedule_epochs, rung.data_fraction) for rung in spec.rungs] == [
        (1, 9, 0.5),
        (3, 9, 0.5),
        (9, 9, 0.5),
    ]
    assert spec.rungs[-1] == spec.fidelity.build()
    assert parse_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("text", "metric", "cost", "unit"),
    [("best >= 0.3", 0.3, None, ""), ("Best<=500G>=.25", 0.25, 500.0, "G"), ("best <= 2.5 >= 1", 1, 2.5, "")],
)
def test_targets(text: str, metric: float, cost: float | None, unit: str) -> None:
    spec = parse_spec(broken(budget={"target": text}, limit={"gmacs": [500]}))
    assert spec.budget.target == (metric, cost, unit)
    assert parse_spec(spec.model_dump(mode="json")).budget.target == spec.budget.target


def test_what_a_search_asks_does_not_depend_on_its_means() -> None:
    spec = parse_spec(GOOD)
    more = parse_spec(broken(budget={"trials": 7}, resources={"gpu": 1}, name="other"))
    other = parse_spec(broken(seed=1))
    assert spec.question == more.question != other.question
    assert spec.recipe("data") != spec.recipe("other data")


def test_a_spec_survives_its_own_json() -> None:
    spec = parse_spec(GOOD)
    assert SearchSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_seeds_are_effort_and_leave_other_fingerprints_as_they_are() -> None:
    one = parse_spec(broken()).fidelity.build()
    three = parse_spec(broken(fidelity={"seeds": 3})).fidelity.build()
    assert (one.seeds, three.seeds) == (1, 3)
    assert "seeds" not in one.to_dict()
    candidate = Candidate(0, Architecture.parse("vit_t@224:g"), three, seed=7)
    assert [(single.seed, single.fidelity.seeds) for single in candidate.per_seed] == [(7, 1), (8, 1), (9, 1)]
    first = candidate.per_seed[0]
    assert candidate.training == first.training
    assert candidate.key("recipe") != first.key("recipe")
    assert first.per_seed == (first,)
    assert Candidate.from_dict(candidate.to_dict()) == candidate


def test_the_former_word_for_the_whole_network_is_the_same_search() -> None:
    former, present = (
        parse_spec(broken(limit={"gmacs": [0.02, 0.06], "convention": word})) for word in ("detector", "whole")
    )
    assert former.limit.convention == "whole"
    assert former.question == present.question


def test_the_former_word_for_whole_is_read_with_a_notice(tmp_path: Path) -> None:
    file, lines = tmp_path / "space.yaml", list[str]()
    content = load_spec(find_space("quickstart")).model_dump(mode="json", exclude_unset=True)
    file.write_text(write_yaml({**content, "limit": {"gmacs": [1], "convention": "detector"}}), encoding="utf-8")
    former = load_spec(file, lines.append)
    assert former.limit.convention == "whole"
    assert lines == [f"note: {file}: limit.convention: detector is called whole now, and means the same; write whole"]
    file.write_text(write_yaml({**content, "limit": {"gmacs": [1], "convention": "whole"}}), encoding="utf-8")
    assert load_spec(file, lines.append).question == former.question
    assert len(lines) == 1
