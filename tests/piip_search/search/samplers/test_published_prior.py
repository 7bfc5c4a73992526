import numpy as np
import pytest

from piip_search.analysis.rank_correlation import kendall_tau
from piip_search.config import SearchSpec, load_spec, parse_spec
from piip_search.config.shipped import find_space
from piip_search.evaluation.reason import Reason
from piip_search.ledger import Ledger
from piip_search.search.feasible import feasible_designs
from piip_search.search.samplers.published_prior import published_prior
from piip_search.search.search import open_search


@pytest.fixture(scope="module")
def papers() -> SearchSpec:
    """The models, image sizes and merge of Table 12."""
    content = load_spec(find_space("coco")).model_dump(mode="json")
    content["space"] |= {
        "resolutions": [224, 448, 672, 896, 1120, 1344, 1568, 1792],
        "windows": [14, 28],
        "interactions": [0, 4, 12],
        "branches": [3],
        "merges": ["conv"],
    }
    content |= {"prior": "published", "data": {"embedded": "digits", "root": None, "train": None, "val": None}}
    return parse_spec(content)


def test_the_papers_order_is_learnt(papers: SearchSpec) -> None:
    space, designs = feasible_designs(papers)
    prior = published_prior(papers.known_task, space, designs, papers.pricing)
    assert len(prior.first) >= 15
    assert len(set(prior.first)) == len(prior.first)
    known = np.array(prior.first)
    losses = prior.losses(known)
    assert kendall_tau(-losses, designs.macs_N[known]) > 0.8  # among published designs, dearer is better
    # Table 9: 41.3 AP without interactions, 43.9 with twelve.
    rows = [space.encode(space.decode(designs.rows_ND[index])) for index in range(0, len(designs), len(designs) // 50)]
    pairs = []
    for row in rows:
        row[-len(space.choices.tail_values)] = 0
        without = np.flatnonzero((designs.rows_ND == row).all(axis=1))
        row[-len(space.choices.tail_values)] = 2
        twelve = np.flatnonzero((designs.rows_ND == row).all(axis=1))
        if len(without) and len(twelve):
            pairs.append(prior.losses(np.array([without[0], twelve[0]])))
    assert len(pairs) > 10
    assert np.mean([without > twelve for without, twelve in pairs]) > 0.8


def test_a_search_begins_with_published_designs(papers: SearchSpec) -> None:
    search = open_search("run", papers, Ledger("sqlite://"), "recipe")
    first = search.propose()
    assert first is not None
    assert first.reason == Reason("prior")
    assert search.objectives.price(first.architecture) <= papers.bounds.tiers[0]


def test_a_space_that_shares_nothing_with_the_papers(spec: SearchSpec) -> None:
    other = parse_spec({**spec.model_dump(mode="json"), "prior": "published"})
    with pytest.raises(ValueError, match="knows 0 designs made of this space's models"):
        open_search("run", other, Ledger("sqlite://"), "recipe")
