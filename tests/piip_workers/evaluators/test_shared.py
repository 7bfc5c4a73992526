"""One training for many designs, with real detectors of a dozen images."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import piip_search as ps
from piip_search.api.runners import measurement
from piip_search.config import SearchSpec, parse_spec
from piip_search.errors import PreparationError, SpecError
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.tasks.detection.section import DetectionData
from support.contracts import Measure, PreparingEvaluatorContract, opened
from support.small_ledger import Fill
from support.typed import Cli

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("training"), pytest.mark.filterwarnings("ignore")]

EVALUATOR = {
    "kind": "shared",
    "epochs": 4,
    "tune": 1,
    "keep": 2,
    "least_passes": 1,
    "checkpoint_minutes": 1e-6,
}


def real(spec: SearchSpec, home: Path, search: Any) -> Any:
    return measurement(spec, home, "run", search)


def spec_of(data: DetectionData, evaluator: dict[str, Any] | None = None, **changes: Any) -> SearchSpec:
    content = {
        "name": "small",
        "sampler": "random",
        "space": {
            "backbones": ["vit_nano", "vit_pico"],
            "resolutions": [32, 64],
            "interactions": [0, 1],
            "branches": [1, 2],
            "merges": ["residual"],
        },
        "limit": {"gmacs": [0.02, 0.5], "convention": "backbone"},
        "budget": {"trials": 3},
        "data": data.model_dump(mode="json", exclude_none=True),
        "fidelity": {"epochs": 2},
        "training": {"channels": 32, "batch_size": 4, "learning_rate": 2e-3, "anchor_scale": 2.5},
        "evaluator": {**EVALUATOR, **(evaluator or {})},
        **changes,
    }
    return parse_spec(content)


class TestShared(PreparingEvaluatorContract):
    @pytest.fixture
    def chosen(self, small: DetectionData) -> SearchSpec:
        return spec_of(small)

    @pytest.fixture
    def others(self, small: DetectionData) -> list[SearchSpec]:
        changes = ({"epochs": 5}, {"tune": 2}, {"tune_rate": 0.5})
        return [*(spec_of(small, change) for change in changes), spec_of(small, seed=1)]

    @pytest.fixture
    def slow(self, small: DetectionData) -> SearchSpec:
        return spec_of(small, {"epochs": 12})

    @pytest.fixture
    def measure(self) -> Measure:
        return real

    def test_settings_of_answers_alone_share_a_parent(self, small: DetectionData, tmp_path: Path) -> None:
        first = opened(spec_of(small), tmp_path / "home", real)
        first.prepare()
        later = spec_of(small, {"tune": 2, "keep": 5, "finish": "alone"}, fidelity={"epochs": 3})
        assert opened(later, tmp_path / "home", real, "later").prepare() == []


def measured(work: Any, design: str, epochs: int) -> Evaluation:
    found: Evaluation = work(Candidate(0, ps.Architecture.parse(design), Fidelity(epochs)))
    assert found.status == "done", found.error
    return found


def test_a_design_is_scored_tuned_and_trained_alone(small: DetectionData, tmp_path: Path) -> None:
    spec = spec_of(small, {"finish": "alone", "epochs": 40}, fidelity={"epochs": 3})
    assert [rung.epochs for rung in spec.rungs] == [0, 1, 3]
    found = opened(spec, tmp_path / "home", real)
    found.prepare()
    design = "vit_nano@32:g+vit_pico@64:g*1/residual"
    scored, tuned, alone = (measured(found.work, design, epochs) for epochs in (0, 1, 3))
    for one in (scored, tuned):
        assert one.facts.rest["parent"] == found.state().fingerprint
        assert one.facts.rest["fewest_passes"] > 0
    assert "parent" not in alone.facts.rest
    # What a training alone reaches does not know the parent.
    stand_alone = opened(replace_evaluator(spec), tmp_path / "other", real)
    assert measured(stand_alone.work, design, 3).metrics == alone.metrics
    assert tuned.history[0]["loss"] < measured(stand_alone.work, design, 1).history[0]["loss"]


def replace_evaluator(spec: SearchSpec) -> SearchSpec:
    content = spec.model_dump(mode="json")
    del content["evaluator"]
    return parse_spec(content)


def test_a_tuned_design_is_a_model_of_its_own(small: DetectionData, tmp_path: Path) -> None:
    """Its checkpoint, without the parent, reaches what was measured."""
    from piip_workers.tasks.detection.proxy_training import last_whole_checkpoint

    spec = spec_of(small)
    found = opened(spec, tmp_path / "home", real)
    found.prepare()
    tuned = measured(found.work, "vit_nano@32:g+vit_pico@64:g*1/residual", 1)
    checkpoint = last_whole_checkpoint(tmp_path / "home" / tuned.facts.folder, 1)
    assert checkpoint is not None
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    assert metrics_with(spec, tmp_path / "again", tuned.candidate, state) == tuned.metrics


def test_a_score_is_that_of_a_detector_with_the_parents_weights(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers.evaluators.shared import values_of

    spec = spec_of(small)
    found = opened(spec, tmp_path / "home", real)
    found.prepare()
    scored = measured(found.work, "vit_nano@64:g", 0)
    values = values_of(found.folder / "vit_nano+vit_pico")
    state = {name: values[key] for name, key in keys_of(spec, tmp_path / "again", scored.candidate).items()}
    assert metrics_with(spec, tmp_path / "again", scored.candidate, state) == scored.metrics
    facts = json.loads((found.folder / "vit_nano+vit_pico" / "parent.json").read_text(encoding="utf-8"))
    assert facts["steps"] == 4 * 12 / (4 * 2)


def detector_of(spec: SearchSpec, folder: Path, candidate: Candidate) -> Any:
    from piip_workers.tasks.detection.shared import SharedDetectors

    data, training = (getattr(spec, name).model_dump(mode="json") for name in ("data", "training"))
    folder.mkdir(exist_ok=True)
    made = SharedDetectors(data, training, folder, 0, 1.0, candidate.architecture)
    return made.build(candidate.architecture)


def keys_of(spec: SearchSpec, folder: Path, candidate: Candidate) -> dict[str, str]:
    from piip_workers.tasks.detection.shared import detector_keys

    return detector_keys(candidate.architecture, detector_of(spec, folder, candidate))


def test_each_tier_has_a_parent(small: DetectionData, tmp_path: Path) -> None:
    from piip_workers.evaluators.shared import parents_of, values_of

    limit = {"gmacs": [0.005, 0.5], "convention": "backbone"}
    spec = spec_of(small, {"parents": "tier", "epochs": 8}, limit=limit)
    found = opened(spec, tmp_path / "home", real)
    found.prepare()
    parents = parents_of(found.folder)
    assert [parent.name for parent in parents] == ["tier-0.005", "tier-0.5"]
    assert [line.partition(":")[0] for line in found.state().facts["said"]] == ["tier-0.005", "tier-0.5"]
    below, above = (values_of(parent.folder) for parent in parents)
    assert not any("<-" in key for key in below), "one branch alone fits the lower tier"
    assert any("<-" in key for key in above)
    cheap, dear = "vit_nano@32:g", "vit_nano@32:g+vit_pico@64:g*1/residual"
    axis = spec.bounds.cost_axis
    assert axis.of(ps.Architecture.parse(cheap)) < 0.005 < axis.of(ps.Architecture.parse(dear))
    for design in (cheap, dear):
        assert measured(found.work, design, 0).facts.rest["parent"] == found.state().fingerprint


def test_processes_share_the_designs_of_a_step_equally(small: DetectionData) -> None:
    with pytest.raises(SpecError, match="got 2 processes and designs_a_step 3; set designs_a_step to a multiple"):
        spec_of(small, {"processes": 2, "designs_a_step": 3})


def test_two_processes_on_ray_train_what_one_does(small: DetectionData, tmp_path: Path, cluster: None) -> None:
    from safetensors.torch import load_file

    from piip_workers.shared.training import PARENT_WEIGHTS

    values = []
    for processes in (1, 2):
        home = tmp_path / str(processes)
        run = ps.run(spec_of(small, {"processes": processes}, budget={"trials": 1}), home=home, on="ray")
        assert [e.status for e in run.evaluations if e.candidate.fidelity.epochs == 0] == ["done"]
        values.append(load_file(next(home.rglob(PARENT_WEIGHTS))))
    for key, value in values[0].items():
        torch.testing.assert_close(values[1][key], value, rtol=1e-4, atol=1e-4)


def metrics_with(spec: SearchSpec, folder: Path, candidate: Candidate, state: Any) -> Any:
    """What the product measures of a detector with a state, without any training."""
    from piip_workers.tasks.detection.evaluate import measure

    data, training = (getattr(spec, name).model_dump(mode="json") for name in ("data", "training"))
    untrained = replace(candidate, fidelity=Fidelity(0))
    return measure(
        untrained, data, training, str(folder), begin=lambda network: network.load_state_dict(state, strict=False)
    ).metrics


def test_a_parent_that_would_be_hardly_trained_is_refused(small: DetectionData, tmp_path: Path) -> None:
    found = opened(spec_of(small, {"least_passes": 1000}), tmp_path / "home", real)
    with pytest.raises(PreparationError, match=r"tensors would have \d+ batches, fewer than evaluator.least_passes"):
        found.prepare()
    trained = opened(spec_of(small), tmp_path / "home", real, "trained")
    trained.prepare()
    (said,) = trained.state().facts["said"]
    assert re.match(r"vit_nano\+vit_pico: [\d.]+ M parameters in \d+ tensors, 6 steps; each tensor had at least", said)
    # The same parent, asked by a search with a higher demand.
    refused = opened(spec_of(small, {"least_passes": 1000}), tmp_path / "home", real).work(
        Candidate(0, ps.Architecture.parse("vit_pico@64:g"), Fidelity(0))
    )
    assert re.search(r"had \d+ batches in the parent's training, fewer than", refused.error)


def test_proxies_at_a_smaller_image_size_share_a_parent(small: DetectionData, tmp_path: Path) -> None:
    """Scaled sizes depend on all branches of a design, so that a parent meets sizes that no single branch has."""
    space = {
        "backbones": ["vit_nano", "vit_pico"],
        "resolutions": [96, 128, 160, 192, 224, 256],
        "interactions": [0, 1],
        "branches": [1, 2],
        "merges": ["residual"],
    }
    fidelity = {"epochs": 2, "image_scale": 0.5}
    found = opened(spec_of(small, {"epochs": 12}, space=space, fidelity=fidelity), tmp_path / "home", real)
    found.prepare()
    assert found.state().state == "done", found.state().error
    scaled = Fidelity(0, image_scale=0.5)
    done = found.work(Candidate(0, ps.Architecture.parse("vit_nano@160:g+vit_pico@256:g*1/residual"), scaled))
    assert done.status == "done", done.error


def test_each_largest_set_has_a_parent(small: DetectionData, tmp_path: Path) -> None:
    space = {
        "backbones": ["vit_micro", "vit_nano", "vit_pico"],
        "resolutions": [32, 64],
        "interactions": [0],
        "branches": [1, 2],
        "merges": ["residual"],
    }
    spec = spec_of(small, {"epochs": 6}, space=space)
    found = opened(spec, tmp_path / "home", real)
    found.prepare()
    parents = found.state().facts["parents"]
    assert set(parents) == {"vit_micro+vit_nano", "vit_micro+vit_pico", "vit_nano+vit_pico"}
    for design in ("vit_pico@32:g", "vit_micro@32:g+vit_pico@64:g*0/residual"):
        measured(found.work, design, 0)
    refused = found.work(Candidate(0, ps.Architecture.parse("vit_t@32:g"), Fidelity(0)))
    assert "no parent was trained for vit_t@32" in refused.error


def test_a_front_has_tuned_models_alone(small: DetectionData, tmp_path: Path) -> None:
    spec = spec_of(small, budget={"trials": 6})
    search = ps.run(spec, home=tmp_path / "home")
    epochs = [evaluation.candidate.fidelity.epochs for evaluation in search.evaluations]
    assert set(epochs) == {0, 1}
    members = {e.candidate.fidelity.epochs for front in search.history.fronts for e in front.evaluations}
    assert members == {1}, "nothing that was only scored stands on a front"


def test_all_points_of_a_parent_leave_with_one_set_of_weights(
    small: DetectionData, tmp_path: Path, run_cli: Cli
) -> None:
    from piip_search.models.elastic import load_elastic

    search = ps.run(spec_of(small, budget={"trials": 8}), home=tmp_path / "home")
    out, home = tmp_path / "elastic", str(tmp_path / "home")
    ended = run_cli("export", search.run, "elastic", "-o", str(out), "--home", home, "--format", "all")
    assert (ended.code, "with one set of weights; proof: 3 of 3 checks passed" in ended.out) == (0, True), ended.err
    network = load_elastic(out)
    scored = {
        e.candidate.design: e.metrics["bbox_mAP"] for e in search.evaluations if e.candidate.fidelity == Fidelity(0)
    }
    assert all(scored[point.design] == point.value for point in network.points)
    assert len(list((out / "onnx").glob("*.onnx"))) == len(network.points)
    assert str(network.points[0].design) in (out / "README.md").read_text(encoding="utf-8")
    # The same folder is written again; another kind of format and another kind of search are refused.
    assert run_cli("export", search.run, "elastic", "-o", str(out), "--home", home, "--no-proof").code == 0
    refused = run_cli("export", search.run, "elastic", "-o", str(out), "--home", home, "--format", "mmdet")
    assert (refused.code, "elastic is written as torch and onnx, not as mmdet" in refused.err) == (2, True)


def test_a_search_without_a_parent_has_no_elastic_network(fill: Fill, run_cli: Cli) -> None:
    fill(trials=3)
    refused = run_cli("export", "small", "elastic", "-o", "elastic", "--home", "runs")
    assert refused.code == 2
    assert "elastic needs designs that share weights (evaluator shared), and run small has" in refused.err


def test_a_tuned_design_is_exported_with_its_own_weights(small: DetectionData, tmp_path: Path, run_cli: Cli) -> None:
    training = {"channels": 32, "batch_size": 4, "learning_rate": 2e-3, "anchor_scale": 2.5, "pretrained": "miniature"}
    search = ps.run(spec_of(small, budget={"trials": 4}, training=training), home=tmp_path / "home")
    arguments = ("export", search.run, "best", "-o", str(tmp_path / "best"), "--home", str(tmp_path / "home"))
    ended = run_cli(*arguments, "--no-proof")
    assert ended.code == 0, ended.err
    provenance = (tmp_path / "best" / "provenance.json").read_text(encoding="utf-8")
    assert json.loads(provenance)["weights"] == "proxy"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schedule": {"rungs": [1]}}, "has rungs of its own (scored, tuned, alone); leave schedule out"),
        (
            {"evaluator": {**EVALUATOR, "finish": "alone", "tune": 2}},
            "tunes for 2 epochs, and a training of its own has 2",
        ),
        ({"training": {"inherit": True}}, "gives designs the parent's weights; leave training.inherit out"),
        ({"training": {"cuda_graphs": True}}, "changes the network at each step, which no graph can replay"),
        ({"baselines": ["vit_pico@64:g"]}, "tunes designs, and baselines are trained alone"),
        ({"evaluator": {**EVALUATOR, "epochs": 0}}, "epochs"),
    ],
)
def test_what_cannot_share_is_refused(small: DetectionData, changes: dict[str, Any], problem: str) -> None:
    content = spec_of(small).model_dump(mode="json")
    with pytest.raises(SpecError) as caught:
        parse_spec({**content, **changes})
    assert problem in " ".join(caught.value.problems)
