"""Programs that a ledger names run only if they are one's own as recorded, or trusted."""

import hashlib
import os
from pathlib import Path

import pytest

from piip_search.api.programs import keep_programs, with_trusted_programs
from piip_search.config import SearchSpec, parse_spec
from piip_search.errors import SpecError, UserError
from piip_search.ledger.records import KeptFile

CONTENT = "raise SystemExit\n"


class Kept:
    """A ledger that keeps files."""

    def __init__(self) -> None:
        self.files: dict[str, KeptFile] = {}

    def keep_file(self, name: str, path: str, content: str) -> KeptFile:
        self.files[path] = KeptFile(path, hashlib.sha256(content.encode()).hexdigest(), content)
        return self.files[path]

    def kept_files(self, name: str) -> dict[str, KeptFile]:
        return self.files


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "detector.py"
    file.write_text(CONTENT, encoding="utf-8")
    return file


@pytest.fixture
def named(spec: SearchSpec, program: Path) -> SearchSpec:
    content = spec.model_dump(mode="json", exclude_unset=True)
    training = {key: value for key, value in content.get("training", {}).items() if key != "anchor_scale"}
    return parse_spec({**content, "training": {**training, "detector": str(program)}})


def detector(spec: SearchSpec) -> Path:
    return Path(spec.training.model_dump()["detector"])


def test_ones_own_file_runs_where_it_is(named: SearchSpec, program: Path, tmp_path: Path) -> None:
    ledger = Kept()
    keep_programs(ledger, "run", named)
    assert ledger.files[str(program)].content == CONTENT
    assert detector(with_trusted_programs(ledger, "run", named, tmp_path, trust=False)) == program


@pytest.mark.parametrize("change", ["changed", "removed", "of anybody"])
def test_another_file_is_refused_and_the_recorded_one_runs_if_trusted(
    named: SearchSpec, program: Path, tmp_path: Path, change: str
) -> None:
    ledger = Kept()
    keep_programs(ledger, "run", named)
    if change == "changed":
        program.write_text("print()\n", encoding="utf-8")
    elif change == "removed":
        program.unlink()
    else:
        program.chmod(0o666)
    with pytest.raises(UserError, match="--trust"):
        with_trusted_programs(ledger, "run", named, tmp_path, trust=False)
    taken = detector(with_trusted_programs(ledger, "run", named, tmp_path, trust=True))
    assert taken != program
    assert taken.read_text(encoding="utf-8") == CONTENT
    assert taken.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_of_somebody_else_is_refused_without_a_record_too(
    named: SearchSpec, program: Path, tmp_path: Path
) -> None:
    os.chown(program, 54321, 54321)  # that no account has
    with pytest.raises(UserError, match="not yours alone"):
        with_trusted_programs(Kept(), "run", named, tmp_path, trust=False)
    assert detector(with_trusted_programs(Kept(), "run", named, tmp_path, trust=True)) == program


def test_a_changed_record_never_runs(named: SearchSpec, program: Path, tmp_path: Path) -> None:
    ledger = Kept()
    ledger.files[str(program)] = KeptFile(str(program), "0" * 64, CONTENT)
    with pytest.raises(UserError, match="ledger verify"):
        with_trusted_programs(ledger, "run", named, tmp_path, trust=True)


@pytest.mark.parametrize("name", ["mmdet::/tmp/evil.py", "mmdet::../../evil.py", "mmdet::a/../../evil.py"])
def test_a_name_of_mmdet_stays_inside_mmdet(spec: SearchSpec, name: str) -> None:
    content = spec.model_dump(mode="json", exclude_unset=True)
    with pytest.raises(SpecError, match="mmdet ships"):
        parse_spec({**content, "training": {"detector": name}})
