"""The counter of prose counts what a reader reads."""

import pytest

from support.prose import Prose, prose_of, sentences, together


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
