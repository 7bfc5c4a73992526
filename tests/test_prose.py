"""The counter of prose counts what a reader reads, and the prose of the code is short."""

import pytest

from support import ROOT
from support.prose import (
    Prose,
    clauses,
    docstrings,
    messages,
    prose_of,
    prose_of_docstring,
    sentences,
    together,
)

PACKAGES = ("piip_search", "workers/piip_workers", "dashboards/piip_dashboards")


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("One fact. Another\nfact, on two lines.\n", ["One fact.", "Another fact, on two lines."]),
        ("# A title\n\nText.\n\n| a | table |\n| --- | --- |\n", ["Text."]),
        ("Before:\n\n```sh\npiip-search run x. And more.\n```\n\nAfter.\n", ["Before:", "After."]),
        ("- an item\n- another one\n  that goes on\n\n1. a step\n", ["an item", "another one that goes on", "a step"]),
        ("Type `piip-search run coco --on local`.", ["Type code."]),
        ("See [the guide](guide/run.md#a.b). ![A picture. Of it.](x.png)", ["See the guide."]),
        ("About 0.3 of v1.2 is e.g. this. Next!", ["About 0.3 of v1.2 is e.g. this.", "Next!"]),
        ("<!-- Not. Seen. -->\nSeen.\n\n!!! note\n\n---\n", ["Seen."]),
    ],
)
def test_sentences_are_found(page: str, found: list[str]) -> None:
    assert sentences(page) == found


def test_words_and_blocks_are_counted() -> None:
    page = prose_of("One two three. Four – five.\n\n```python\nx = 1\n```\n\n1. Six:\n\n    ```text\n    y\n    ```\n")
    assert page == Prose((3, 2, 1), 2)
    assert page.median == 2
    assert page.blocks_per_1000_words == pytest.approx(2000 / 6)


def test_nine_of_ten_sentences_are_no_longer_than_the_ninetieth_percentile() -> None:
    assert Prose(tuple(range(1, 11)), 0).ninetieth == 9
    assert Prose((7,), 0).ninetieth == 7


def test_pages_are_counted_together() -> None:
    assert together([Prose((1, 2), 1), Prose((3,), 2)]) == Prose((1, 2, 3), 3)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


def test_docstrings_and_messages_are_found() -> None:
    source = '''"""A module."""

LIMIT = 3
"""An attribute."""


def check(value: int) -> None:
    """Checks a value.

    Args:
        value: Value to check. It is small.

    Raises:
        ValueError: It is large.
    """
    if value > LIMIT:
        raise ValueError(f"value must be at most {LIMIT}, got {value}; lower it")
'''
    module, attribute, function = docstrings(source)
    assert (module, attribute) == ("A module.", "An attribute.")
    assert prose_of_docstring(function).lengths == (3, 3, 3, 3)
    assert messages(source) == ["value must be at most value, got value; lower it"]
    assert clauses(messages(source)[0]).lengths == (8, 2)


def test_no_docstring_begins_with_a_reference_to_its_neighbour(sources: dict[str, str]) -> None:
    starts = ("Of ", "The same")
    found = [(file, text) for file, source in sources.items() for text in docstrings(source) if text.startswith(starts)]
    assert found == []


def test_sentences_of_docstrings_are_short(sources: dict[str, str]) -> None:
    prose = together([prose_of_docstring(text) for source in sources.values() for text in docstrings(source)])
    assert len(prose.lengths) > 4000
    assert prose.median <= 15
    assert prose.ninetieth <= 28


def test_clauses_of_messages_are_short(sources: dict[str, str]) -> None:
    prose = together([clauses(text) for source in sources.values() for text in messages(source)])
    assert len(prose.lengths) > 500
    assert prose.median <= 10
    assert prose.ninetieth <= 20
