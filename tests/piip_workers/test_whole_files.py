from pathlib import Path

import pytest

from piip_workers.whole_files import write_whole


def test_a_file_is_replaced_at_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file.json"
    for text in ("first", "second"):
        write_whole(file, text)
        assert file.read_text(encoding="utf-8") == text
    assert list(file.parent.iterdir()) == [file]


def test_what_cannot_be_written_whole_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    write_whole(file, "first")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "half a character: \ud800")
    assert file.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [file]
