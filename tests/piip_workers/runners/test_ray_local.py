"""What a machine must have for Ray to start on it, and what is done where it has something else."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from piip_search.errors import MachineUnfitError
from piip_workers.runners.ray_local import LONGEST_TMPDIR, check_token_file, keep_new_token, missing_environment

SLURM = "/scratch/slurm/jobs/1234567/a_long_name_of_a_user/and_of_a_project"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, None),
        ({"TMPDIR": "/tmp"}, None),
        ({"RAY_TMPDIR": "/tmp", "TMPDIR": SLURM}, None),
        ({"TMPDIR": SLURM}, "/tmp"),
        ({"TMPDIR": "relative"}, "/tmp"),
        ({"TMPDIR": ""}, "/tmp"),
        ({"TMPDIR": "/dev/null/none"}, "/tmp"),
        ({"RAY_TMPDIR": ""}, "/tmp"),
        ({"RAY_TMPDIR": "", "TMPDIR": "/var/tmp"}, "/var/tmp"),
    ],
)
def test_a_folder_that_suits_ray_stands_in_for_one_that_does_not(given: dict[str, str], used: str | None) -> None:
    assert missing_environment(given).get("RAY_TMPDIR") == used


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        (SLURM, "paths of sockets have at most 107 bytes, and Ray's would have"),
        ("/" + "é" * LONGEST_TMPDIR, "paths of sockets have at most 107 bytes"),
        ("relative", "the path is not absolute"),
        ("/dev/null", "/dev/null is no folder"),
        ("/dev/null/below", "/dev/null/below cannot be created"),
    ],
)
def test_a_folder_that_the_user_chose_and_that_does_not_suit_is_refused(chosen: str, problem: str) -> None:
    with pytest.raises(MachineUnfitError, match="set RAY_TMPDIR to a folder of at most 39 bytes") as caught:
        missing_environment({"RAY_TMPDIR": chosen})
    assert f"RAY_TMPDIR={chosen}: {problem}" in str(caught.value)


def test_a_home_that_holds_no_token_needs_one_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RAY_AUTH_TOKEN" not in missing_environment({})
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    first, second = (missing_environment({})["RAY_AUTH_TOKEN"] for _ in range(2))
    assert len(first) == 64
    assert first != second
    assert "RAY_AUTH_TOKEN" not in missing_environment({"RAY_AUTH_TOKEN": "own"})
    assert "RAY_AUTH_TOKEN" not in missing_environment({"RAY_AUTH_TOKEN_PATH": "/shared/token"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_home_that_may_only_be_read(tmp_path: Path) -> None:
    (tmp_path / "home").chmod(0o500)
    assert "RAY_AUTH_TOKEN" in missing_environment({})


def test_a_new_token_is_this_user_s_alone(tmp_path: Path) -> None:
    keep_new_token({})
    token = tmp_path / "home" / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text(encoding="utf-8")) == 64
    before = token.read_bytes()
    keep_new_token({})
    assert token.read_bytes() == before
    check_token_file({})


def test_no_token_is_written_beside_a_given_one(tmp_path: Path) -> None:
    keep_new_token({"RAY_AUTH_TOKEN": "own"})
    keep_new_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    assert not (tmp_path / "home" / ".ray").exists()
    assert not (tmp_path / "token").exists()


def test_a_token_that_others_can_read_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        token = Path(folder) / "token"
        token.write_text("x", encoding="utf-8")
        environment = {"RAY_AUTH_TOKEN_PATH": str(token)}
        Path(folder).chmod(0o755)
        for mode in (0o644, 0o640, 0o604):
            token.chmod(mode)
            with pytest.raises(MachineUnfitError, match=f"run: chmod 600 {token}"):
                check_token_file(environment)
        check_token_file({**environment, "RAY_AUTH_TOKEN": "x"})
        token.chmod(0o600)
        check_token_file(environment)
        token.chmod(0o644)
        Path(folder).chmod(0o700)
        check_token_file(environment)
