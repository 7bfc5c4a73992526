"""The README says how the bare network's images are read."""

from dataclasses import replace

import pytest

from piip_search.architecture import Architecture
from piip_search.export import Export, PixelNorm
from piip_search.export.readme import readme
from piip_search.export.request import UNIT_NORM, norm_formula
from shades.task import ShadesPlan, ShadesTraining

IMAGENET: PixelNorm = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
FORMULA = "(pixel / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
FIT = Export(
    Architecture.parse("vit_nano@32:g+vit_pico@64:g*1/linear"),
    ShadesPlan(ShadesTraining(), "short", norm=UNIT_NORM),
    ("torch", "onnx"),
)
CROP = replace(
    FIT,
    plan=ShadesPlan(
        ShadesTraining(), "short", norm=IMAGENET, reading="crop", outputs="the scores of 7 classes, before the softmax"
    ),
)


@pytest.mark.parametrize(
    ("norm", "formula"),
    [
        (UNIT_NORM, "(pixel - 127.5) / 127.5"),
        (((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)), "(pixel - 0) / 255"),
        (IMAGENET, FORMULA),
    ],
)
def test_a_normalisation_is_a_formula(norm: PixelNorm, formula: str) -> None:
    assert norm_formula(norm) == formula
    assert norm_formula(norm, "pixels") == formula.replace("pixel", "pixels")


def test_images_of_a_classifier_are_centres() -> None:
    text = readme(CROP)
    assert f"| values | {FORMULA} for red, green and blue, of pixels from 0 to 255: from -2.1179 to 2.64 |" in text
    assert "| shape | (1, 3, 64, 64) in ONNX; (B, 3, 64, 64) in torch |" in text
    assert "the shorter side has 64 pixels; bicubic" in text
    assert "| crop | the centre of the resized image, 64 x 64 pixels |" in text
    assert "| padding | none |" in text
    assert "It gives the scores of 7 classes, before the softmax." in " ".join(text.split())
    assert "in the order of the list of classes in this export" in " ".join(text.split())
    assert '(scores,) = onnxruntime.InferenceSession("onnx/model.onnx").run' in text
    assert "probabilities = scores.softmax(1)" in text
    assert not [word for word in ("maps", "pyramid", "long side", "cv2", "any size", "127.5") if word in text]


def test_images_of_maps_are_padded() -> None:
    text = readme(FIT)
    assert "| values | (pixel - 127.5) / 127.5 in every channel, of pixels from 0 to 255: from -1 to 1 |" in text
    assert "the long side at most 64 pixels, the short one at most 64; bilinear |\n| padding | with 0" in text
    assert "((pixels - 127.5) / 127.5).transpose(2, 0, 1)" in text
    assert "It takes images of any size" in text
    assert not [word for word in ("scores", "softmax", "centre", "PIL") if word in text]


@pytest.mark.parametrize("export", [FIT, CROP])
def test_the_example_is_python(export: Export) -> None:
    (block,) = [part.partition("```")[0] for part in readme(export).split("```python\n")[1:]]
    compile(block, "README.md", "exec")
