import os
from pathlib import Path

import pytest

from piip_search.own_files import is_own, no_link, read_own


def test_only_what_one_owns_and_others_cannot_change_is_own(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert is_own(file)
    assert read_own(file, 3) == b"abc"
    assert read_own(file, 2) is None
    file.chmod(0o666)
    assert not is_own(file)
    assert read_own(file, 3) is None
    assert not is_own(tmp_path)
    assert not is_own(tmp_path / "away")
    assert read_own(tmp_path / "away", 3) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_somebody_else_is_not_own(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    os.chown(file, 54321, 54321)  # that no account has
    assert not is_own(file)
    assert read_own(file, 3) is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read_own(tmp_path / "pipe", 3) is None


def test_no_link_is_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"), open(tmp_path / "link", "w", encoding="utf-8", opener=no_link):
        pass
    assert target.read_text(encoding="utf-8") == "mine"
