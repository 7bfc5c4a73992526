"""The closed form of costs against networks that are built and counted."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")

from piip_search.architecture import Architecture  # noqa: E402
from piip_search.architecture.backbones import BACKBONES, Transformer, refused_models, timm_models  # noqa: E402
from piip_search.architecture.published import Published, published_designs  # noqa: E402
from piip_search.cost import memory, price  # noqa: E402
from piip_search.models import PIIP, PIIPClassifier, PIIPPyramid  # noqa: E402
from piip_search.models.weights.timm_catalogue import facts_of  # noqa: E402
from support.counting import counted_macs, parameters  # noqa: E402
from support.networks import DESIGNS, LABELS, LARGE, network  # noqa: E402


@pytest.mark.parametrize("name", [*DESIGNS, *LABELS, *LARGE])
def test_closed_form_equals_counted(name: str) -> None:
    model, image = network(name)
    cost = price(Architecture.parse(name), "backbone")
    assert counted_macs(model, image) == cost.macs
    assert parameters(model) == cost.params


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "vit_6b"])
def test_every_backbone_costs_what_is_counted(name: str) -> None:
    text = f"{name}@96:w4" if BACKBONES[name].family == "vit" else f"{name}@96"
    model, image = network(text)
    cost = price(Architecture.parse(text), "backbone")
    assert (counted_macs(model, image), parameters(model)) == (cost.macs, cost.params)


def _smallest_of_each_kind() -> list[str]:
    """One timm model for every combination of what tells models apart beside their sizes."""
    sizes = {"width", "depth", "heads", "hidden", "widths", "depths", "position_grid"}
    kinds = {}
    for name, facts in sorted(
        timm_models().items(), key=lambda item: item[1].get("width", 0) * item[1].get("depth", 1)
    ):
        kinds.setdefault(str({key: value for key, value in facts.items() if key not in sizes}), name)
    return sorted(kinds.values())


@pytest.mark.parametrize("name", _smallest_of_each_kind())
def test_timm_models_cost_what_is_counted(name: str) -> None:
    facts = timm_models()[name]
    side = 32 if facts["family"] == "convnext" else facts.get("patch", 16)
    text = f"{name}@{6 * side}" + ("" if facts["family"] == "convnext" else ":w4")
    model, image = network(text)
    cost = price(Architecture.parse(text), "backbone")
    assert (counted_macs(model, image), parameters(model)) == (cost.macs, cost.params)


@pytest.mark.parametrize("name", _smallest_of_each_kind())
def test_facts_of_timm_models_are_those_of_the_installed_timm(name: str) -> None:
    assert facts_of(name) == timm_models()[name]


@pytest.mark.parametrize(
    "name", ["convnext_atto_ols", "vit_dwee_patch16_reg1_gap_256", "vit_dpwee_patch16_reg1_gap_256"]
)
def test_why_a_model_cannot_be_a_branch_is_what_the_installed_timm_says(name: str) -> None:
    assert facts_of(name) == refused_models()[name]


@pytest.mark.parametrize("image", [(96, 160), (160, 96), (100, 130)])
def test_any_image_shape_costs_what_is_counted(image: tuple[int, int]) -> None:
    name = "vit_micro@64:w3+vit_nano@96:w4+vit_pico@128:w4g2*4"
    architecture = Architecture.parse(name)
    model, _ = network(name)
    height, width = architecture.image(*image)
    assert (height % architecture.multiple, width % architecture.multiple) == (0, 0)
    counted = counted_macs(model, torch.zeros(1, 3, height, width, device="meta"))
    assert counted == price(architecture, "backbone", image).macs


def test_published_tsb_has_its_detection_parameters() -> None:
    # 175.0 M: the detection class of the official repository with merging convolutions and simple pyramid.
    architecture = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
    with torch.device("meta"):
        model = PIIPPyramid(architecture)
    assert parameters(model) / 1e6 == pytest.approx(175.0, abs=0.05)


@pytest.mark.parametrize("row", [row for row in published_designs() if row.mparams], ids=lambda row: row.id)
def test_published_designs_have_their_parameters(row: Published) -> None:
    # The papers count a classifier whose position embeddings lie on the grid of its own images; ours keep their grid.
    architecture = dataclasses.replace(row.architecture, merge="linear")
    with torch.device("meta"):
        network = PIIPClassifier(architecture)
    grown = sum(
        branch.model.width * (branch.grid**2 - branch.model.position_grid**2)
        for branch in architecture.branches
        if isinstance(branch.model, Transformer)
    )
    assert (parameters(network) + grown) / 1e6 == pytest.approx(row.mparams, rel=0.007)


@pytest.mark.parametrize(("name", "outputs"), [("vit_nano@64:g/logits", 21), ("vit_nano@64:g/tokens", 5120)])
def test_as_many_outputs_as_wanted_cost_what_is_counted(name: str, outputs: int) -> None:
    architecture = Architecture.parse(name)
    with torch.device("meta"):
        model, image = PIIP(architecture, outputs=outputs).eval(), torch.zeros(1, 3, 64, 64)
    cost = price(architecture, "backbone", outputs=outputs)
    assert (counted_macs(model, image), parameters(model)) == (cost.macs, cost.params)
    assert model(image).shape[-1] == outputs
    assert memory(architecture, outputs=outputs) != memory(architecture)


def test_maps_have_no_outputs_to_count() -> None:
    with pytest.raises(ValueError, match="the merge conv gives maps, which have no outputs to count, got 21"):
        PIIP(Architecture.parse("vit_nano@64:g"), outputs=21)
