"""What the command line refuses: one clear error, exit code 2, and nothing begun."""

import json
from pathlib import Path

import pytest
import yaml

from piip_search.config.shipped import find_space
from support.typed import Cli

TSB = "vit_b@672:w14+vit_s@1120:w14+vit_t@1568:w14*12"
SET = {"root": "set", **{part: {"images": part, "annotations": f"{part}.json"} for part in ("train", "val")}}
"""A data set in the folder that a command is typed in."""
BAD = {
    "unknown key": ("smapler: tpe", "smapler: unknown key; did you mean sampler?"),
    "wrong type": ("seed: one", "seed: input should be a valid integer"),
    "resolution": (
        "space: {backbones: [vit_pico], resolutions: [100]}",
        "multiple of a patch of 16 px, got 100",
    ),
    "limit": ("limit: {gmacs: [0.0001]}", "the cheapest costs"),
    "missing data": (
        "data: {root: nowhere, train: {images: a, annotations: b}, val: {images: a, annotations: b}}",
        "data.root: no folder nowhere",
    ),
    "syntax": ("name: [", "not YAML"),
}


@pytest.mark.parametrize("fault", list(BAD))
def test_a_bad_space_ends_with_one_message_and_code_2(run_cli: Cli, tmp_path: Path, fault: str) -> None:
    line, message = BAD[fault]
    text = find_space("quickstart").read_text(encoding="utf-8")
    if fault == "syntax":
        text += line
    else:
        text = yaml.safe_dump({**yaml.safe_load(text), **yaml.safe_load(line)})
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    ended = run_cli("run", "bad.yaml", "--on", "local")
    assert ended.code == 2
    assert "bad.yaml: 1 problem" in ended.err
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "runs").exists()


def test_a_malformed_coco_file_names_file_and_place(run_cli: Cli, tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / f"{part}.json").write_text(
            '{"images": [{}], "annotations": [], "categories": []}', encoding="utf-8"
        )
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    content["limit"]["gmacs"] = [0.0001]
    content["data"] = SET
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    ended = run_cli("run", "bad.yaml", "--on", "local")
    assert ended.code == 2
    assert "11 problems" in ended.err
    assert "set/train.json: images[0].id: is missing" in ended.err
    assert "limit.gmacs" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quikstart"], "did you mean quickstart"),
        (["run", "none.yaml"], "no file none.yaml"),
        (
            ["run", "quickstart", "--on", "local", "--address", "auto"],
            "address auto names a Ray cluster, and local is this process",
        ),
        (["run", "quickstart", "--name", "../up"], "a run's name must be up to 100 letters"),
        (["cost", "vit_b"], "write it like"),
        (["cost", TSB, "--image", "800"], "height x width in pixels"),
        (["plan", "quickstart", "--images", "5"], "two counts, of training and of validation"),
        (["plan", "quickstart", "--plot", "x.gif"], "change its ending"),
        (["show"], "run a search first"),
        (["front", "small", "--ledger", "nonsense"], "cannot be opened"),
        (["init", "cocoa"], "no shipped space cocoa"),
        (["front", "small", "--json", "--csv"], "not both"),
    ],
)
def test_what_a_user_can_mend_ends_with_code_2(run_cli: Cli, arguments: list[str], message: str) -> None:
    ended = run_cli(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_a_space_of_one_group_is_refused_with_its_groups(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({**content, "sampler": "matched", "groups": "family"}))
    ended = run_cli("run", "one.yaml", "--on", "local", "--mlflow", "none")
    assert ended.code == 2
    assert "two groups are needed, and within the limit there are ViT (19)" in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_run_and_choice(run_cli: Cli, finished: list[str]) -> None:
    assert "it holds: small" in run_cli("front", "other", *finished).err
    ended = run_cli("export", "small", "best<=0.0000001G", "-o", "out", *finished)
    assert ended.code == 2
    assert "the cheapest costs" in ended.err


def test_missing_weights_are_said_before_anything_starts(run_cli: Cli, tmp_path: Path) -> None:
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    content["space"] = {"backbones": ["vit_t", "vit_pico"], "resolutions": [32]}
    content["limit"] = {"gmacs": [1.0]}
    content["training"]["pretrained"] = "weights"
    (tmp_path / "pretrained.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    ended = run_cli("run", "pretrained.yaml", "--on", "local")
    assert ended.code == 2
    assert "2 problems" in ended.err
    assert f"no weights of vit_t in weights ({tmp_path}/weights: a relative path starts" in ended.err
    assert "; place https://huggingface.co/timm/deit_tiny" in ended.err
    assert "as weights/deit_tiny_patch16_224.fb_in1k.safetensors" in ended.err
    assert "vit_pico has no pre-trained weights; leave it out" in ended.err


def test_backbones_without_miniature_weights_are_said_in_one_line(run_cli: Cli, tmp_path: Path) -> None:
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    content["space"] = {"backbones": ["vit_t", "vit_w64_d2_h2", "vit_pico"], "resolutions": [32]}
    content["limit"] = {"gmacs": [1.0]}
    content["training"]["pretrained"] = "miniature"
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    ended = run_cli("run", "small.yaml", "--on", "local")
    assert ended.code == 2
    assert "1 problem" in ended.err
    assert "training.pretrained: no miniature weights of vit_t, vit_w64_d2_h2; vit_micro, " in ended.err


def test_what_no_candidate_could_be_measured_with_is_said_before_anything_starts(run_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("mmdet")
    content = yaml.safe_load(find_space("quickstart").read_text(encoding="utf-8"))
    content["data"] = SET
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    for part in ("train", "val"):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / part / "a.png").write_bytes(b"no picture")
        (tmp_path / "set" / f"{part}.json").write_text(json.dumps(coco), encoding="utf-8")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    ended = run_cli("run", "own.yaml", "--on", "local")
    assert (ended.code, "Traceback" in ended.err) == (2, False)
    assert "these validation images cannot be decoded" in ended.err
    assert "set/val/a.png cannot be decoded; restore the file" in ended.err
    assert not (tmp_path / "runs").exists()
    content["training"] |= {"detector": "mask_rcnn", "anchor_scale": None}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    masks = run_cli("run", "own.yaml", "--on", "local")
    assert masks.code == 2
    assert "mask_rcnn learns masks, and 1 of 1 objects in" in masks.err
