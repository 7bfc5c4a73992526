import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piip_search.architecture import Architecture, Branch, Interaction
from piip_search.evaluation import Fidelity
from piip_search.export import CocoPaths, CocoSplit, export_mmdet
from piip_search.export.mmdet_config import ProxyImages, full_config, proxy_config, render
from piip_search.shipped import find_space
from piip_search.spec import Training, load_spec

ARCHITECTURE = Architecture.parse("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12")
PATHS = CocoPaths(
    CocoSplit(Path("/data/train"), Path("/data/train.json")),
    CocoSplit(Path("/data/val"), Path("/data/val.json")),
    ("cat",),
)


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12", 112),
        ("vit_b@448:w14+vit_s@896:w14+vit_t@1120:w14*12", 80),
        ("vit_b@1024:w14g3", 16),
    ],
)
def test_images_are_padded_until_every_grid_is_exact(name: str, multiple: int) -> None:
    assert Architecture.parse(name).multiple == multiple


@given(st.lists(st.integers(1, 112), min_size=1, max_size=4), st.integers(1, 5))
def test_every_padded_side_gives_whole_patches(grids: list[int], times: int) -> None:
    branches = tuple(Branch("vit_t", 16 * grid) for grid in sorted(grids))
    architecture = Architecture(branches, Interaction())
    side = architecture.multiple * times
    for branch in branches:
        assert math.isclose(side * branch.resolution / architecture.resolution % 16, 0)


def test_the_recipe_is_the_published_one() -> None:
    settings = full_config(ARCHITECTURE, PATHS, load_spec(find_space("coco")).training)
    assert settings["train_cfg"]["max_epochs"] == 12
    assert settings["param_scheduler"][1]["milestones"] == [8, 11]
    assert settings["optim_wrapper"]["optimizer"]["lr"] == 1e-4
    assert settings["model"]["backbone"]["drop_path"] == [0.15, 0.05, 0.05]
    assert settings["model"]["neck"]["in_channels"] == [768] * 4
    resize = settings["train_dataloader"]["dataset"]["pipeline"][2]
    assert resize["scale"] == (1568, 941)


def test_the_text_is_the_settings() -> None:
    settings = full_config(ARCHITECTURE, PATHS, Training())
    read: dict[str, object] = {}
    exec(render(settings, "title"), read)
    assert {key: value for key, value in read.items() if key != "__builtins__"} == settings


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    export_mmdet(ARCHITECTURE, PATHS, Training(), tmp_path / "new", {"GMACs": "453"})
    export_mmdet(ARCHITECTURE, PATHS, Training(), tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"config.py", "architecture.json", "README.md"}
    (tmp_path / "new" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        export_mmdet(ARCHITECTURE, PATHS, Training(), tmp_path / "new")
    with pytest.raises(ValueError, match="is a file"):
        export_mmdet(ARCHITECTURE, PATHS, Training(), tmp_path / "new" / "thesis.tex")


def test_proxy_and_export_see_images_alike() -> None:
    training = Training(short_side=0.5)
    proxy = proxy_config(ARCHITECTURE, PATHS, training, fidelity=Fidelity(2), images=ProxyImages(10), seed=0)
    full = full_config(ARCHITECTURE, PATHS, training)
    for part in ("train_dataloader", "val_dataloader"):
        assert proxy[part]["dataset"]["pipeline"][1:] == full[part]["dataset"]["pipeline"][1:]
    assert proxy["model"]["data_preprocessor"] == full["model"]["data_preprocessor"]
    resize = next(step for step in full["val_dataloader"]["dataset"]["pipeline"] if step["type"] == "Resize")
    assert resize["scale"] == (1568, 784)
