"""What deciding may load, and what a missing extra says."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
