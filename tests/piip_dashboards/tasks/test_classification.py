"""The drawing of classifications: what it reads, what it refuses, and what a page shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piip_dashboards.runs.examples import read_examples
from piip_dashboards.tasks import DRAWINGS
from piip_dashboards.tasks.classification import MOST_CONFUSED, MOST_ROWS, ClassificationDrawing
from piip_search.evaluation.evaluation import EXAMPLES_FILE, EXAMPLES_FOLDER, trials_folder
from piip_search.ledger import Ledger
from support import ledgers
from support.sites import Site, site_of

EVIL = '"><img src=x onerror="document.title=1">{{ 7*7 }}'


def content_of(counts: list[list[int]], names: list[str] | None = None) -> dict[str, Any]:
    """A file with a mistake and a right answer, and these counts by true class and answer."""
    known = names or [f"class {at}" for at in range(len(counts))]
    classes = [
        {"name": name, "images": sum(row), "recall": row[at] / sum(row) if sum(row) else None}
        for at, (name, row) in enumerate(zip(known, counts, strict=True))
    ]
    answers = [{"label": known[at], "probability": share} for at, share in ((1, 0.75), (0, 0.25))]
    picture = {"file": "0.jpg", "name": "a/b.png", "width": 320, "height": 200, "answers": answers}
    return {
        "epochs": 3,
        "classes": classes,
        "confusion": [
            [true, answer, count] for true, row in enumerate(counts) for answer, count in enumerate(row) if count
        ],
        "pictures": [{**picture, "truth": known[0]}, {**picture, "file": "1.jpg", "truth": known[1]}],
    }


SMALL = [[3, 1, 0], [4, 2, 2], [0, 0, 0]]


def ring(classes: int) -> list[list[int]]:
    """Each class is right twice, and taken for the next one once."""
    return [[{at: 2, (at + 1) % classes: 1}.get(place, 0) for place in range(classes)] for at in range(classes)]


def test_classes_are_listed_worst_first() -> None:
    drawn = ClassificationDrawing().pictures(content_of(SMALL))
    assert (drawn.measured, drawn.right) == (12, 5)
    assert [(one.name, one.images, one.recall) for one in drawn.classes] == [
        ("class 1", 8, 0.25),
        ("class 0", 4, 0.75),
        ("class 2", 0, None),
    ]
    assert [(one.taken_for, one.mistaken) for one in drawn.classes] == [("class 0", 4), ("class 1", 1), (None, 0)]


def test_a_matrix_has_counts_and_shares_of_its_rows() -> None:
    drawn = ClassificationDrawing().pictures(content_of(SMALL))
    assert drawn.pairs == ()
    assert [[cell.count for cell in row.cells] for row in drawn.matrix] == SMALL
    assert [cell.share for cell in drawn.matrix[1].cells] == [0.5, 0.25, 0.25]
    assert [cell.is_right for cell in drawn.matrix[1].cells] == [False, True, False]


def test_pictures_have_their_likeliest_classes() -> None:
    drawn = ClassificationDrawing().pictures(content_of(SMALL))
    assert [one.is_right for one in drawn.images] == [False, True]
    assert [(one.label, one.probability) for one in drawn.images[0].answers] == [("class 1", 0.75), ("class 0", 0.25)]


def test_many_classes_have_their_most_confused_pairs() -> None:
    counts = ring(120)
    counts[7][3] = 5
    drawn = ClassificationDrawing().pictures(content_of(counts))
    assert drawn.matrix == ()
    assert len(drawn.pairs) == MOST_CONFUSED
    first = drawn.pairs[0]
    assert (first.truth, first.answer, first.count, first.share) == ("class 7", "class 3", 5, 5 / 8)
    assert (drawn.class_count, len(drawn.classes)) == (120, MOST_ROWS)
    assert drawn.classes[0].name == "class 7"


def changed(place: str, value: Any) -> dict[str, Any]:
    """A good file with another value at a place."""
    content = content_of(SMALL)
    found: Any = content
    *outer, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    for part in outer:
        found = found[part]
    found[last] = value
    return content


FOREIGN = [
    {},
    [],
    {"epochs": 1, "classes": ["0", "1"], "pictures": []},
    changed("classes", 3),
    changed("classes", []),
    changed("classes/0/images", 3),
    changed("classes/0/images", 4.0),
    changed("classes/0/recall", 1.5),
    changed("classes/0/recall", float("nan")),
    changed("classes/0/recall", "high"),
    changed("confusion", None),
    changed("confusion/0", [0, 0]),
    changed("confusion/0", [0, 9, 3]),
    changed("confusion/0", [0, -1, 3]),
    changed("confusion/0", [0, 0, float("inf")]),
    changed("confusion/0", [0, 0, True]),
    changed("confusion/0", [0, 0, 10**400]),
    changed("pictures/0", {"file": "0.jpg"}),
    changed("pictures/0", "0.jpg"),
    changed("pictures/0/answers", []),
    changed("pictures/0/truth", "another"),
    changed("pictures/0/answers/0/label", "another"),
    changed("pictures/0/answers/0/probability", float("inf")),
    changed("pictures/0/answers/0/probability", None),
    changed("pictures/0/width", float("inf")),
]


@pytest.mark.parametrize("content", FOREIGN)
def test_foreign_content_is_refused(content: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        ClassificationDrawing().pictures(content)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A dashboard that draws every design as a classifier; `show` writes what it draws."""
    spec = ledgers.published_spec(2, rungs=())
    monkeypatch.setitem(DRAWINGS, spec.task, ClassificationDrawing())
    home = tmp_path / "home"
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    ledgers.fill(ledger, spec)
    yield site_of(ledger, home)
    ledger.close()


def shown(site: Site, content: dict[str, Any]) -> str:
    """The part of a design's page with its examples."""
    for evaluation in site.ledger.evaluations("big"):
        folder = trials_folder(site.home, "big", ledgers.RECIPE) / evaluation.candidate.training
        (folder / EXAMPLES_FOLDER).mkdir(parents=True, exist_ok=True)
        (folder / "epoch_18.pth").write_bytes(b"weights")
        (folder / EXAMPLES_FOLDER / EXAMPLES_FILE).write_text(json.dumps(content), encoding="utf-8")
        assert read_examples(ClassificationDrawing(), evaluation, folder) is not None
    fingerprint = next(iter(site.service.reading("big").designs))
    answer = site.client.get(f"/search/big/design/{fingerprint}/part/examples")
    assert answer.status_code == 200
    return answer.text


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_a_page_shows_pictures_classes_and_the_matrix(site: Site) -> None:
    text = shown(site, content_of(SMALL))
    words = plain(text)
    assert "5 of 12 validation images are right (42%)." in words
    assert "mistake class 0, taken for class 1 · a/b.png" in words
    assert "right class 1 · a/b.png" in words
    assert text.count('/example/0.jpg" alt="a/b.png"') == 1
    assert "75% class 1 25% class 0 mistake" in words
    assert "class 1 8 25% class 0 (4)" in words
    assert "class 2 0 – –" in words
    matrix = text[text.index('aria-label="Confusion matrix"') :]
    assert matrix.count("<path") == 5
    assert plain(matrix[matrix.index("<tbody") :]).startswith("class 0 3 1 class 1 4 2 2 class 2 0")
    shades = re.findall(r'fill-opacity="([\d.]+)"', matrix)
    assert shades == ["0.350", "0.150", "0.250", "0.150", "0.150"]
    assert matrix.count("<b>") == 3


def test_a_page_lists_the_pairs_of_many_classes(site: Site) -> None:
    text = shown(site, content_of(ring(120)))
    assert "Confusion matrix" not in text
    assert text.count("<tr>") == 1 + MOST_ROWS + 1 + MOST_CONFUSED
    assert "The 100 classes with the lowest recall, of 120." in plain(text)
    assert "class 0 class 1 1 33%" in plain(text)


def test_a_page_without_mistakes_says_so(site: Site) -> None:
    counts = [[2 if true == answer else 0 for answer in range(31)] for true in range(31)]
    assert "No image is taken for another class." in shown(site, content_of(counts))


@pytest.mark.parametrize("classes", [2, 31])
def test_names_are_text(site: Site, classes: int) -> None:
    content = content_of(ring(classes), [f"{EVIL}{at}" for at in range(classes)])
    for picture in content["pictures"]:
        picture["name"] = picture["file"] = EVIL
    text = shown(site, content)
    assert "<img src=x" not in text
    assert "onerror" in text
    assert not re.search(r"\sonerror=\"", text)
    assert "{{ 7*7 }}" in text


def test_nothing_is_styled_in_the_page(site: Site) -> None:
    """The pages' policy allows neither inline styles nor scripts."""
    text = shown(site, content_of(SMALL))
    assert "style" not in text
    assert "<script" not in text


@pytest.mark.parametrize("counts", [SMALL, ring(31)])
def test_tables_can_be_read_aloud_and_reached_by_keyboard(site: Site, counts: list[list[int]]) -> None:
    text = shown(site, content_of(counts))
    assert text.count("<table") == text.count("<caption")
    assert all("scope=" in heading for heading in re.findall(r"<th\b[^>]*>", text))
    assert all(
        "tabindex" in region and "aria-label" in region for region in re.findall(r'<div class="scroll"[^>]*', text)
    )
    assert all("aria-" in picture for picture in re.findall(r"<svg[^>]*>", text))
