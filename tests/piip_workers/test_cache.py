"""Where the cache lies: on machines with a home folder, without one, and with one that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from piip_search.errors import CacheError
from piip_workers.cache import cache_folder
from piip_workers.tasks.detection.digits import compose

NO_ACCOUNT = """
import os, sys
sys.path[:0] = {paths!r}
from piip_workers.cache import cache_folder
os.setgroups([])
os.setgid(54321)
os.setuid(54321)  # that no account has
print(cache_folder())
"""


@pytest.fixture
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable says where the cache is; temporary files lie in the test's folder."""
    for name in ("PIIP_SEARCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


pytestmark = pytest.mark.usefixtures("_bare")


def test_variables_come_before_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert cache_folder() == tmp_path / "home" / ".cache" / "piip-search"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "piip-search"
    monkeypatch.setenv("PIIP_SEARCH_CACHE", "~/own")
    assert cache_folder() == tmp_path / "home" / "own"


@pytest.mark.parametrize("given", ["", "relative/cache"])
def test_what_the_xdg_standard_passes_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == tmp_path / "home" / ".cache" / "piip-search"


def test_a_home_that_cannot_hold_it_leaves_a_temporary_folder_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder", encoding="utf-8")
    folder = cache_folder()
    assert folder == tmp_path / "temporary" / f"piip-search-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's id")
@pytest.mark.parametrize("home", [None, "/"])
def test_a_user_id_without_an_account(home: str | None) -> None:
    with TemporaryDirectory(dir="/tmp") as place:  # other users may not look into a test's own folder
        Path(place).chmod(0o777)
        environment = {"TMPDIR": place} | ({} if home is None else {"HOME": home})
        command = [sys.executable, "-c", NO_ACCOUNT.format(paths=sys.path)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == f"{place}/piip-search-54321", ended.stderr


@pytest.mark.parametrize("planted", ["link", "open", "file"])
def test_a_temporary_folder_of_somebody_else_is_refused(tmp_path: Path, planted: str) -> None:
    (tmp_path / "home").write_text("no folder", encoding="utf-8")
    folder = tmp_path / "temporary" / f"piip-search-{os.getuid()}"
    if planted == "link":
        folder.symlink_to(tmp_path, target_is_directory=True)
    elif planted == "file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(CacheError, match="set PIIP_SEARCH_CACHE to a folder that you may write to"):
        cache_folder()


def test_digits_that_cannot_be_written_name_the_way_out(tmp_path: Path) -> None:
    pytest.importorskip("cv2", exc_type=ImportError)
    pytest.importorskip("sklearn")
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot be written into .*cache \(Not a directory\); set PIIP_SEARCH_CACHE"):
        compose(tmp_path / "file" / "cache")
