"""A JSON file that is read entry by entry holds what json itself reads of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piip_search.errors import NotJsonError
from piip_workers.tasks.detection.coco.json_stream import CHUNK_CHARACTERS, parts

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)


def joined(file: Path) -> Any:
    """The document, put together from its pieces."""
    found: dict[str, Any] = {}
    whole: Any = None
    for part in parts(file):
        if part.first is None:
            found[part.key] = part.values[0]
            whole = part.values[0]
        else:
            listed = found.setdefault(part.key, [])
            assert part.first == len(listed)
            listed += part.values
    if "" in found and file.read_text(encoding="utf-8-sig").lstrip().startswith("["):
        return found[""]
    return found if file.read_text(encoding="utf-8-sig").lstrip().startswith("{") else whole


@settings(max_examples=200)
@given(
    document=st.one_of(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.lists(VALUES), SCALARS),
    indent=st.sampled_from([None, 1]),
    mark=st.booleans(),
)
def test_any_document_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, document: Any, indent: int | None, mark: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "document.json"
    file.write_text(json.dumps(document, indent=indent, ensure_ascii=False), "utf-8-sig" if mark else "utf-8")
    assert joined(file) == document


@pytest.mark.parametrize("separator", [", ", ",", ",\n", ",\r\n", " ,"])
def test_entries_are_read_many_at_once_however_they_are_separated(tmp_path: Path, separator: str) -> None:
    """One by one takes three times as long."""
    file = tmp_path / "long.json"
    entry = json.dumps({"segmentation": [[1.5, 2, 3, 4]], "name": "one"})
    file.write_text('{"annotations": [' + separator.join([entry] * 20_000) + "]}", encoding="utf-8", newline="")
    read = [len(part.values) for part in parts(file)]
    assert sum(read) == 20_000
    assert len(read) < 100


@pytest.mark.slow
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), (" ,\n", " : ")])
def test_a_document_of_many_chunks_is_read_whole(tmp_path: Path, separators: tuple[str, str]) -> None:
    entries = [
        {
            "id": number,
            "text": "}, {" if number % 5 == 0 else '"}],{[{\\',
            "inner": [{"a": 1}, {"b": [number, 0.5]}],
            "name": "\U0001f98a" * (number % 3),
        }
        for number in range(CHUNK_CHARACTERS // 40)
    ]
    document = {"info": {"x": [1, {"y": 2}]}, "images": entries[:9], "empty": [], "annotations": entries, "last": 12345}
    file = tmp_path / "large.json"
    file.write_text(json.dumps(document, separators=separators, ensure_ascii=False), encoding="utf-8")
    assert file.stat().st_size > CHUNK_CHARACTERS
    told: list[tuple[int, int]] = []
    for _ in parts(file, lambda done, total: told.append((done, total))):
        pass
    assert told == sorted(told)
    assert told[-1] == (file.stat().st_size, file.stat().st_size)
    assert joined(file) == document


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a value"),
        ("{", "expected"),
        ('{"a": 1', "expected , or }"),
        ('{"a": [1, 2', "expected , or ]"),
        ('{"a": [1 2]}', "expected , or ], got 2"),
        ("{a: 1}", "expected a value at character 2"),
        ("{1: 1}", "a key must be a text"),
        ('{"a": 1} x', "more after the document's end"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": "\n"}', "Invalid control character"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(NotJsonError) as caught:
        list(parts(file))
    assert told in str(caught.value)
