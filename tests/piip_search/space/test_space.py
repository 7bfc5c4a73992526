import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piip_search.architecture import ATTENTIONS, DIRECTIONS, Architecture, Branch, Interaction
from piip_search.architecture.backbones import backbone_named
from piip_search.architecture.segments import MERGES, ONE_MAP_MERGES
from piip_search.config import load_spec
from piip_search.config.shipped import find_space
from piip_search.cost import CONVENTIONS, Pricing, Step, conventions_of, price, training_bytes
from piip_search.space import PAIRINGS, Choices, Designs, Limit, SearchSpace, parse_window
from piip_search.tasks.detection.head import COCO_MASK_RCNN, DetectorHead

TINY = ["vit_micro", "vit_nano", "vit_pico", "convnext_pico", "vit_w32_d2_h2", "vit_w48_d3_h2_p8"]


def some(values: Any, most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(list(values)), min_size=1, max_size=most, unique=True).map(tuple)


def spaces(backbones: list[str], resolutions: list[int], most: int = 3) -> st.SearchStrategy[SearchSpace]:
    return st.builds(
        Choices,
        backbones=some(backbones),
        resolutions=some(resolutions),
        windows=some(["global", 3, 4, "4g2", "7g5"], 2),
        interactions=some([0, 1, 4, 6]),
        branches=some(range(1, most + 1)),
        merges=some(MERGES, 2),
        attention=some(ATTENTIONS, 2),
        direction=some(DIRECTIONS, 2),
        projection=some([True, False], 2),
        norm=some([True, False], 1),
        heads=st.sampled_from([1, 4, 16]),
        patch=st.sampled_from([None, 16]),
        pairing=st.sampled_from(PAIRINGS),
        steps=st.sampled_from([None, (1.0, 2.0), (1.4, 3.0)]),
        whole_windows=st.booleans(),
        pretraining_grid=st.booleans(),
        padding=st.sampled_from([None, 64, 96, 224]),
    ).map(SearchSpace)


def everything(space: SearchSpace) -> set[Architecture]:
    """Every combination of the space's choices that can be built and breaks no rule, by trying all of them."""
    choices = space.choices
    branches = []
    for name, side, window in itertools.product(choices.backbones, choices.resolutions, choices.windows):
        own = backbone_named(name)
        patch = None if own.family == "convnext" or choices.patch in (None, own.patch) else choices.patch
        side_and_global = window if own.family == "vit" else (None, 0)
        try:
            branches.append(Branch(name, side, *side_and_global, patch))
        except ValueError:
            continue
    found = set()
    for count in choices.branches:
        for parts in itertools.product(sorted(set(branches), key=str), repeat=count):
            for n, attention, direction, projection, norm, merge in itertools.product(
                choices.interactions if count > 1 else (0,),
                choices.attention,
                choices.direction,
                choices.projection,
                choices.norm,
                choices.merges,
            ):
                interaction = (
                    Interaction(n, choices.heads, 4, attention, direction, projection, norm) if n else Interaction()
                )
                try:
                    architecture = Architecture(parts, interaction, merge)
                except ValueError:
                    continue
                # A single branch is one network under conv, linear and residual: it counts under the first.
                again = count == 1 and merge in [one for one in choices.merges if one in ONE_MAP_MERGES][1:]
                if not space.reasons(architecture) and not again:
                    found.add(architecture)
    return found


@settings(max_examples=60)
@given(spaces(TINY, [32, 48, 64, 96], most=2))
def test_a_space_holds_exactly_what_can_be_built_and_breaks_no_rule(space: SearchSpace) -> None:
    rows = space.priced().rows_ND
    assert len(np.unique(rows, axis=0)) == len(rows) == len(space) <= space.combinations
    designs = [space.decode(row) for row in rows]
    assert len(set(designs)) == len(designs)
    assert set(designs) == everything(space)


@settings(max_examples=60)
@given(
    spaces(["vit_l", "vit_b", "vit_t", "convnext_b", "vit_micro", "vit_nano"], [224, 448, 640, 672, 896]),
    st.sampled_from([None, 10]),
    st.integers(0, 99),
)
def test_rows_are_priced_exactly_and_read_back(space: SearchSpace, outputs: int | None, seed: int) -> None:
    if not len(space):
        with pytest.raises(ValueError, match="no design"):
            space.sample(1, seed)
        return
    drawn = space.sample(5, seed)
    for row in drawn:
        assert (space.encode(space.decode(row)) == row).all()
    detector = DetectorHead("retinanet", 64, 7)
    for convention in CONVENTIONS:
        if convention == "whole" and {"logits", "tokens"} & set(space.choices.merges):
            with pytest.raises(ValueError, match="no head reads"):
                space.priced(Pricing(convention))
            continue
        pricing = Pricing(convention, detector, outputs=outputs)
        designs = space.priced(pricing)
        for index in np.random.default_rng(seed).integers(0, len(designs), 5):
            architecture = space.decode(designs.rows_ND[index])
            cost = price(architecture, convention, None, detector, pricing.outputs_under(convention))
            assert (designs.macs_N[index], designs.params_N[index]) == (cost.macs, cost.params)
            assert pricing.price(architecture) == cost


@settings(max_examples=60)
@given(
    spaces(["vit_l", "vit_b", "vit_t", "convnext_b", "vit_micro", "vit_nano"], [224, 448, 640, 672, 896]),
    st.floats(0.1, 1.0),
    st.floats(0.1, 1.0),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 10]),
    st.integers(0, 99),
)
def test_training_memory_is_known_for_all_designs_at_once(
    space: SearchSpace,
    image_scale: float,
    short_side: float,
    bfloat16: bool,
    checkpointing: bool,
    outputs: int | None,
    seed: int,
) -> None:
    if not len(space):
        return
    step = Step(image_scale, short_side, 3, DetectorHead("retinanet", 64, 7), bfloat16, checkpointing, outputs)
    designs = Designs.concat(list(space.chunks(Pricing("backbone"), step)))
    assert designs.training_N is not None
    for index in np.random.default_rng(seed).integers(0, len(designs), 5):
        assert designs.training_N[index] == training_bytes(space.decode(designs.rows_ND[index]), step)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(spaces(TINY, [32, 64, 96]), st.integers(0, 99))
def test_designs_build_run_and_cost_what_is_counted(space: SearchSpace, seed: int) -> None:
    torch = pytest.importorskip("torch")
    from piip_search.models import PIIP
    from support.counting import counted_macs, parameters

    if not len(space):
        return
    for row in space.sample(2, seed):
        architecture = space.decode(row)
        side = architecture.resolution
        model = PIIP(architecture).eval()
        cost = price(architecture, "backbone")
        assert counted_macs(model, torch.randn(1, 3, side, side)) == cost.macs
        assert parameters(model) == cost.params
        assert conventions_of(architecture, COCO_MASK_RCNN) == CONVENTIONS or architecture.merge in ("logits", "tokens")


@settings(max_examples=25)
@given(spaces(TINY, [32, 48, 64, 96], most=2), st.integers(0, 99))
def test_neighbours_are_mutual_and_in_the_space(space: SearchSpace, seed: int) -> None:
    if not len(space):
        return
    design = space.decode(space.sample(1, seed)[0])
    for neighbour in space.neighbours(design)[:20]:
        assert neighbour != design
        assert not space.reasons(neighbour)
        assert design in space.neighbours(neighbour)


def test_draws_are_uniform() -> None:
    space = SearchSpace(Choices(("vit_t", "vit_b"), (224, 448, 672), (14,), (0, 6), (1, 2)))
    rows, counts = np.unique(space.sample(12_000, 0), axis=0, return_counts=True)
    assert len(rows) == len(space) == 12
    assert abs(counts - 1000).max() < 4 * np.sqrt(1000)


def test_the_inverted_rule_by_hand() -> None:
    space = SearchSpace(Choices(("vit_t", "vit_b"), (224, 448, 672), (14,), (0, 6), (1, 2)))
    single = {f"{model}@{side}:w14" for model in ("vit_t", "vit_b") for side in (224, 448, 672)}
    pairs = {
        f"vit_b@{small}:w14+vit_t@{large}:w14*{count}"
        for small, large in itertools.combinations((224, 448, 672), 2)
        for count in (0, 6)
    }
    assert {space.decode(row).name for row in space.priced().rows_ND} == single | pairs


@pytest.mark.parametrize(("pairing", "count"), [("inverted", 3), ("equal", 9), ("free", 27)])
def test_pairings_count(pairing: Any, count: int) -> None:
    assert len(SearchSpace(Choices(("vit_t", "vit_b"), (224, 448, 672), branches=(2,), pairing=pairing))) == count


SPACE = SearchSpace(
    Choices(
        ("vit_t", "vit_b", "convnext_t"),
        (224, 448, 640, 672),
        (14, "14g3"),
        (0, 6),
        (1, 2),
        ("conv", "pyramid"),
        steps=(1.2, 2.5),
        whole_windows=True,
        pretraining_grid=True,
        padding=224,
    )
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_s@224:w14+vit_t@448:w14*6", "backbone vit_s is not offered (backbones); nearest: vit_t"),
        ("vit_b@672:w14+vit_t@448:w14*6", "must see a larger image than vit_b@672:w14 (pairing: inverted)"),
        ("vit_b@448:w14+vit_t@448:w14*6", "nearest: 640"),
        ("vit_b@224:w7+vit_t@448:w14*6", "attends in a way that is not offered (windows); nearest: 14"),
        ("vit_b@224:w14+vit_t@448:w14*6(heads=8)", "8 heads and 4 points, the space has 16 and 4"),
        ("vit_b@224:w14+vit_t@448:w14*12", "12 interactions are not offered (interactions); nearest: 6"),
        ("vit_b@224:w14+vit_t@448:w14*6(norm=no)", "norm False is not offered (norm); choose True"),
        ("vit_b@224:w14+vit_t@448:w14*6/linear", "merge linear is not offered (merges); choose conv, pyramid"),
        ("vit_b@240:w14", "not offered (resolutions); nearest: 224"),
        ("vit_b@640:w14", "windows that do not tile its 40 tokens (whole_windows); nearest size: 672"),
        ("vit_b@640:w14", "no multiple of the 14 of its stored positions (pretraining_grid); nearest size: 672"),
        ("vit_b@224:w14+vit_t@672:w14*6", "differ by a factor of 3, allowed are 1.2 to 2.5 (steps); nearest: 448"),
        ("vit_b@224:w14+vit_t@640:w14*6", "padded to multiples of 320 px, and at most 224 is allowed (padding)"),
        ("vit_b@224:w14+vit_t@448:w14+vit_t@672:w14*6", "3 branches, the space has 1, 2"),
        ("vit_b@224:w14+vit_b@448:w14*6", "a model is repeated"),
    ],
)
def test_each_rule_says_why_and_what_is_near(name: str, reason: str) -> None:
    architecture = Architecture.parse(name)
    assert any(reason in found for found in SPACE.reasons(architecture))
    with pytest.raises(ValueError, match="the space does not hold"):
        SPACE.encode(architecture)


def test_a_single_branch_of_a_space_of_residual_merges_has_a_plain_name() -> None:
    space = SearchSpace(
        Choices(("vit_nano", "vit_pico"), (64, 128), interactions=(0, 2), branches=(1, 2), merges=("residual",))
    )
    single, pair = Architecture.parse("vit_nano@64:g"), Architecture.parse("vit_nano@64:g+vit_pico@128:g*2/residual")
    assert Architecture.parse("vit_nano@64:g/residual") == single
    assert {space.decode(row).name for row in space.priced().rows_ND} >= {single.name, pair.name}
    assert space.decode(space.encode(single)) == single
    assert pair in set(space.neighbours(single))
    assert single in set(space.neighbours(pair))


def test_a_single_branch_is_one_design_under_all_merges_of_one_map() -> None:
    space = SearchSpace(
        Choices(("vit_nano", "vit_pico"), (64, 128), interactions=(0, 2), branches=(1, 2), merges=("conv", "residual"))
    )
    names = {space.decode(row).name for row in space.priced().rows_ND}
    alone = {f"{model}@{side}:g" for model in ("vit_nano", "vit_pico") for side in (64, 128)}
    pair = "vit_nano@64:g+vit_pico@128:g"
    assert names == {*alone, *(f"{pair}{rest}" for rest in ("*0", "*2", "*0/residual", "*2/residual"))}
    # A name of the same network is read, as an older search may have recorded it.
    other = Architecture.parse("vit_nano@64:g/residual")
    assert space.decode(space.encode(other)).name == "vit_nano@64:g"
    for design in (other, Architecture.parse("vit_nano@64:g")):
        near = {one.name for one in space.neighbours(design)}
        assert near & alone == {"vit_nano@128:g", "vit_pico@64:g"}
        assert {f"{pair}*0", f"{pair}*2/residual"} <= near
    assert "vit_nano@64:g" in {one.name for one in space.neighbours(Architecture.parse(f"{pair}*2/residual"))}


@pytest.mark.parametrize(
    ("text", "window"), [(14, (14, 0)), ("global", (None, 0)), (None, (None, 0)), ("14g3", (14, 3))]
)
def test_windows_are_read(text: Any, window: tuple[int | None, int]) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize("text", [0, "g", "14g1", "14g", "-3"])
def test_what_is_no_window_says_so(text: Any) -> None:
    with pytest.raises(ValueError, match="a window must be a number of tokens"):
        parse_window(text)


def test_limits_hold() -> None:
    space = SearchSpace(Choices(("vit_t", "vit_b"), (224, 448, 672), (14,), (0, 6), (1, 2)))
    within = space.within(Limit((20.0, 30.0), caps=(("mparams", 60.0),)))
    everything = space.priced()
    fits = (everything.macs_N <= 30e9) & (everything.params_N <= 60e6)
    assert 0 < fits.sum() < len(everything)
    assert (within.rows_ND == everything.rows_ND[fits]).all()


def test_the_same_space_in_another_order_is_the_same() -> None:
    one = SearchSpace(Choices(("vit_t", "vit_b"), (224, 448), (14, None), (0, 6), (1, 2)))
    other = SearchSpace(Choices(("vit_b", "vit_t"), (448, 224), (None, 14), (6, 0), (2, 1)))
    assert one == other
    assert (one.priced().rows_ND == other.priced().rows_ND).all()


def test_the_coco_space_is_large_and_holds_the_published_designs() -> None:
    space = load_spec(find_space("coco")).space.build()
    assert len(space) >= 1_000_000
    for name in (
        "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12",
        "vit_l@448:w28+vit_b@672:w28+vit_s@1120:w28+vit_t@1568:w28*12",
    ):
        assert space.decode(space.encode(Architecture.parse(name))).name == name
