"""What belongs to one task is in the folders of that task."""

import re
import subprocess

import pytest

from support import ROOT

OF_DETECTION = re.compile(
    r"(?i:mmdet|bbox|coco|detector|anchor|retinanet|rcnn|segm_|\bboxes\b)"
    r"|[\"']detection[\"']|\bDetection[A-Z]\w*|\b[Dd]etect(?:s|ed|ing)?\b|\.box-"
)
"""Names and words of detection; the papers' task of that name may be named in prose."""
FOREIGN = re.compile(
    r"bbox_to_anchor|axes\.bbox|\bbbox=\{"  # matplotlib's words
    r"|\b[xy]anchor\b"  # Plotly's
    r"|Example: piip-search .*|piip-search init: coco"  # the shipped space coco in the help of commands
)
ALLOWED = {
    "piip_search/__init__.py": "former names of modules",
    "piip_search/tasks/__init__.py": "the registry",
    "piip_search/architecture/published.py": "the papers' tasks",
    "piip_search/architecture/miniature_weights/MODEL_CARD.md": "the data set of some pictures",
    "piip_search/cli/cost.py": "the former name of the option --head",
    "piip_search/search/samplers/joint_gain.py": "boxes of a hypervolume",
    "piip_search/config/space.py": "the former name of the convention whole",
    "workers/piip_workers/__init__.py": "former names of modules",
    "workers/piip_workers/tasks/__init__.py": "the registry",
    "workers/piip_workers/mmlab/__init__.py": "stand-ins for what any task with OpenMMLab imports",
    "workers/piip_workers/mmlab/loss_watch.py": "what OpenMMLab packs into a batch",
    "workers/piip_workers/mmlab/operators.py": "stand-ins, as above",
    "workers/piip_workers/mmlab/shims.py": "stand-ins, as above",
    "dashboards/piip_dashboards/tasks/__init__.py": "the registry",
}
"""Files that may hold words of detection, with the reason."""
FOLDERS = ("piip_search", "workers/piip_workers", "dashboards/piip_dashboards")


def named() -> dict[str, list[str]]:
    """Words of detection outside of its folders, by file."""
    patterns = [f"{folder}/{pattern}" for folder in FOLDERS for pattern in ("*.py", "*.js", "*.css", "*.html", "*.md")]
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for file in listed.stdout.splitlines():
        if "tasks/detection" not in file and (ROOT / file).is_file():
            text = FOREIGN.sub("", (ROOT / file).read_text(encoding="utf-8"))
            words = [match[0] for match in OF_DETECTION.finditer(text)]
            found |= {file: words} if words else {}
    return found


def test_words_of_detection_are_in_its_folders() -> None:
    assert {file: words for file, words in named().items() if file not in ALLOWED} == {}


@pytest.mark.parametrize("registry", [file for file, reason in ALLOWED.items() if reason == "the registry"])
def test_a_task_is_an_import_and_an_entry_in_each_registry(registry: str) -> None:
    lines = [line for line in (ROOT / registry).read_text(encoding="utf-8").splitlines() if "detection" in line]
    assert len(lines) == 2


def test_every_exception_is_needed() -> None:
    assert sorted(ALLOWED) == sorted(named())
