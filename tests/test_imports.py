"""What deciding may load, and what a missing extra says."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support import ROOT

HEAVY = ("torch", "timm", "torchvision", "ray", "mlflow", "mmdet", "mmengine", "mmcv", "matplotlib", "sklearn", "cv2")


def python(code: str) -> subprocess.CompletedProcess[str]:
    path = "; ".join(f"sys.path.insert(0, {str(ROOT / folder)!r})" for folder in (".", "workers", "dashboards"))
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {path}\n{code}"], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "module", ["piip_search", "piip_search.cli", "piip_search.search.search", "piip_search.export"]
)
def test_deciding_loads_nothing_heavy(module: str) -> None:
    ended = python(f"import {module}; print([name for name in {HEAVY} if name in sys.modules])")
    assert ended.stdout.strip() == "[]", ended.stderr


def test_the_package_itself_loads_next_to_nothing() -> None:
    ended = python("import piip_search; print('numpy' in sys.modules, 'optuna' in sys.modules)")
    assert ended.stdout.strip() == "False False"


@pytest.mark.parametrize(("package", "extra"), [("ray", "ray"), ("cv2", "detection")])
def test_a_missing_extra_prints_its_install_line(package: str, extra: str, tmp_path: Path) -> None:
    if extra == "ray" and not importlib.util.find_spec("mmdet"):
        pytest.skip("mmdet is not installed")  # Ray is looked for once the data set is there
    command = ["piip-search", "run", "quickstart", "--mlflow", "none", "--home", str(tmp_path)]
    ended = python(
        f"sys.modules[{package!r}] = None; sys.argv = {command}\n"
        f"import os; os.environ['PIIP_SEARCH_CACHE'] = {str(tmp_path)!r}\n"
        "from piip_search.cli import main; main()"
    )
    assert ended.returncode == 2
    assert f'pip install "piip-search[{extra}]"' in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_dashboard_without_its_extra_prints_the_install_line(tmp_path: Path) -> None:
    ended = python(
        f"sys.modules['uvicorn'] = None; sys.argv = ['piip-search', 'dashboard', {str(tmp_path)!r}]\n"
        "from piip_search.cli import main; main()"
    )
    assert ended.returncode == 2
    assert 'pip install "piip-search[dashboard]"' in ended.stderr
    assert "Traceback" not in ended.stderr


NAMES = re.compile(r"(piip_(?:search|workers|dashboards)(?:\.\w+)+)(?::\w+)?")
MAY_NAME_WORKERS = ("api/", "tasks/detection/mmdet/config.py", "tasks/detection/mmdet/data.py")
"""Where a string of piip_search may name the workers: where candidates are sent, and what exports import."""


def strings() -> list[tuple[str, str]]:
    """Strings of the packages that are a module's name, perhaps with a function after it: where, and the module."""
    found = []
    for folder in ("piip_search", "workers/piip_workers", "dashboards/piip_dashboards"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                text = node.value if isinstance(node, ast.Constant) else None
                match = NAMES.fullmatch(text) if isinstance(text, str) else None
                found += [(str(file.relative_to(ROOT)), match[1])] if match else []
    return found


def test_a_module_that_a_string_names_is_there() -> None:
    from piip_workers import FORMER

    named = strings()
    assert len(named) > 8
    for file, module in named:
        assert module in FORMER or importlib.util.find_spec(module), f"{file} names {module}"


def test_a_name_of_the_workers_in_a_string_counts_as_an_import() -> None:
    files = {file.removeprefix("piip_search/") for file, module in strings() if module.startswith("piip_workers.")}
    own = {file for file in files if not file.startswith(("workers/", "dashboards/"))}
    assert own
    assert all(file.startswith(MAY_NAME_WORKERS) for file in own), own


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "extra"), [("piip_search.FORMER_NAMES", "pydantic"), ("piip_workers.FORMER", "mmdet")]
)
def test_a_module_is_imported_under_its_former_name(names: str, extra: str) -> None:
    if not importlib.util.find_spec(extra):
        pytest.skip(f"{extra} is not installed")
    ended = python(
        f"import importlib, {names.partition('.')[0]}; FORMER = {names}\n"
        "print(all(importlib.import_module(old) is importlib.import_module(new) for old, new in FORMER.items()))"
    )
    assert ended.stdout.splitlines()[-1:] == ["True"], ended.stderr


def test_the_mirror_in_the_background_loads_no_mlflow() -> None:
    ended = python("import piip_workers.tracking.background; print('mlflow' in sys.modules)")
    assert ended.stdout.strip() == "False", ended.stderr


def test_the_contract_of_commands_names_every_command() -> None:
    from piip_search.cli.commands import app

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (named,) = [contract["modules"] for contract in contracts if contract["id"] == "commands"]
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    commands = [command.callback for group in groups if group for command in group.registered_commands]
    assert len(commands) > 15
    assert sorted(named) == sorted({str(command.__module__) for command in commands})
