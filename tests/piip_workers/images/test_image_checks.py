"""Annotations are held against the files of the images, and these are looked at before they are trained on."""

import os
import struct
import subprocess
import sys
import threading
import unicodedata
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from support import ROOT

cv2 = pytest.importorskip("cv2")

from piip_search.api.checks import watched_images  # noqa: E402
from piip_search.config import load_spec  # noqa: E402
from piip_search.config.shipped import find_space  # noqa: E402
from piip_search.tasks.detection.section import DetectionData  # noqa: E402
from piip_workers.images.pixels import decoded  # noqa: E402
from piip_workers.tasks.detection import data as data_sets  # noqa: E402
from support import squares  # noqa: E402
from support.hostile import deadline  # noqa: E402
from support.squares import each  # noqa: E402


def problems_of(data: DetectionData, masks: bool = False) -> list[str]:
    return data_sets.examine(data, masks).problems


def stored_pixels(pixels: squares.Picture, orientation: int) -> squares.Picture:
    """The pixels that stand upright once they are turned as an orientation means (EXIF 2.3, 4.6.4)."""
    turned = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: np.swapaxes(pixels, 0, 1),
        6: np.rot90(pixels),
        7: np.swapaxes(pixels[::-1, ::-1], 0, 1),
        8: np.rot90(pixels, -1),
    }
    return np.ascontiguousarray(turned[orientation])


def save(path: Path, stored: squares.Picture, orientation: int) -> None:
    """Writes stored pixels without loss, and the tag that says how to turn them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if path.suffix == ".webp" else {"quality": 100, "subsampling": 0}
    Image.fromarray(stored[..., ::-1]).save(path, exif=exif, **lossless)


def turned(orientation: int) -> squares.Write:
    """Writes pictures whose pixels are stored turned, and stand upright with their EXIF."""
    return lambda path, pixels: save(path, stored_pixels(pixels, orientation), orientation)


def named(change: Any) -> squares.Change:
    return each("images", lambda image: image.update(file_name=change(image["file_name"])))


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    data = squares.write(tmp_path)
    for name, odd in (("1", os.mkfifo), ("2", os.mkdir)):
        (tmp_path / "train" / f"{name}.png").unlink()
        odd(tmp_path / "train" / f"{name}.png")
    (tmp_path / "train" / "3.png").unlink()
    (tmp_path / "train" / "3.png").symlink_to("/dev/zero")
    with deadline(20):
        (line,) = problems_of(data)
    assert "images[0].file_name: must be a regular file, and not a folder, a pipe or a device" in line
    assert "3 of 4 in all" in line


def test_a_link_to_nothing_and_a_long_name_are_missing_files(tmp_path: Path) -> None:
    data = squares.write(tmp_path)
    (tmp_path / "val" / "2.png").unlink()
    (tmp_path / "val" / "2.png").symlink_to("/nowhere.png")
    (line,) = problems_of(data)
    assert "it is a link to /nowhere.png, which does not exist" in line
    long = squares.write(tmp_path / "long", named(lambda name: "\u00e9" * 300 + name), parts=("train",))
    assert "no such image" in problems_of(long)[0]


@pytest.mark.parametrize(("suffix", "orientation"), [(".tiff", 3), (".tiff", 6)])
def test_a_tag_that_the_library_does_not_obey_is_never_guessed(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pixels are as the annotations say, or the set is refused."""

    def written(path: Path, pixels: squares.Picture) -> None:
        turned(orientation)(path, pixels)

    upright = squares.write(tmp_path / "upright", written=written, suffix=suffix)
    stored = {"orientation": "stored"}
    said = squares.write(tmp_path / "stored", written=written, suffix=suffix, train=stored, val=stored)
    for data in (upright, said):
        assert (problems_of(data) == []) == (orientation == 6)  # sizes say what a half turn hides


@pytest.mark.parametrize("suffix", [".ppm", ".png", ".tiff"])
def test_depth_is_known_in_every_format(tmp_path: Path, suffix: str) -> None:
    def dark(path: Path, pixels: squares.Picture) -> None:
        deep = pixels.astype(np.uint16) << 2
        deep[0, 0] = 65535  # a broken pixel of a sensor
        squares.write_picture(path, deep)

    assert "write bits: 10 beside images" in problems_of(squares.write(tmp_path, written=dark, suffix=suffix))[0]


def test_a_turned_image_whose_size_tells_nothing_needs_a_word(tmp_path: Path) -> None:
    data = squares.write(tmp_path, written=turned(3), suffix=".jpg")
    found = problems_of(data)
    assert len(found) == 2
    assert "got orientation 3 in 1.jpg" in found[0]
    assert "orientation: exif for turned pixels, orientation: stored for the pixels as stored" in found[0]
    for said in ("exif", "stored"):
        part = {"orientation": said}
        assert problems_of(squares.write(tmp_path, written=turned(3), suffix=".jpg", train=part, val=part)) == []


def test_turned_images_are_read_as_their_sizes_say(tmp_path: Path) -> None:
    data = squares.write(tmp_path, written=turned(6), suffix=".jpg")
    report = data_sets.examine(data)
    assert (report.problems, report.notices) == ([], [])  # upright annotations
    wrong = squares.write(tmp_path / "other", written=turned(6), suffix=".jpg", train={"orientation": "stored"})
    assert "height and width must be those of its file" in problems_of(wrong)[0]


@pytest.mark.parametrize(("bits", "told"), [(12, "write bits: 12 beside images"), (8, "write bits: 8")])
def test_images_that_would_be_read_as_black_need_a_word(tmp_path: Path, bits: int, told: str) -> None:
    def deep(path: Path, pixels: squares.Picture) -> None:
        scaled = pixels.astype(np.uint32) * ((1 << bits) - 1) // 220
        squares.write_picture(path, scaled.astype(np.uint16))

    found = problems_of(squares.write(tmp_path / "a", written=deep))
    assert len(found) == 2
    assert told in found[0]
    said = {"bits": bits}
    assert problems_of(squares.write(tmp_path / "a", written=deep, train=said, val=said)) == []
    if bits > 8:
        (line,) = problems_of(squares.write(tmp_path / "a", written=deep, train={"bits": 8}, val=said))
        assert f"data.train.bits is 8, and they use {bits}" in line


def test_images_of_all_their_bits_and_of_none_that_can_be_read(tmp_path: Path) -> None:
    def full(path: Path, pixels: squares.Picture) -> None:
        squares.write_picture(path, pixels.astype(np.uint16) << 8)

    def floats(path: Path, pixels: squares.Picture) -> None:
        squares.write_picture(path, pixels.astype(np.float32) / 255)

    def grey_floats(path: Path, pixels: squares.Picture) -> None:
        floats(path, pixels[..., 0])

    assert problems_of(squares.write(tmp_path / "full", written=full)) == []
    for written in (floats, grey_floats):
        found = problems_of(squares.write(tmp_path / written.__name__, written=written, suffix=".tiff"))
        assert (
            "must hold whole numbers of 8 or 16 bits without a sign, got 32-bit floating-point or signed numbers"
            in found[0]
        )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (lambda name: f"train/{name}", "it exists relative to"),
        (lambda name: f"x/{name}", "lies in"),
        (lambda name: name.replace(".png", ".PNG"), "capital and small letters differ"),
        (lambda name: name.replace(".png", ".jpg"), "the ending differs"),
        (lambda name: f"x\\y{name}", "divided by \\, as on Windows"),
        (lambda name: f"../{name}", "must be a file in the folder of images"),
        (lambda name: f"/elsewhere/{name}", "must be a file in the folder of images"),
        (lambda name: f"a\n{name}", "must be the name of a file"),
        (lambda name: "x" * 2000, "must be the name of a file"),
    ],
)
def test_a_missing_image_is_told_with_where_it_seems_to_be(tmp_path: Path, name: Any, hint: str) -> None:
    (line,) = problems_of(squares.write(tmp_path, named(name), parts=("train",)))
    assert line.startswith(f"{tmp_path / 'train.json'}: images[0].file_name: ")
    assert hint in line


def test_training_images_that_cannot_be_decoded_are_told(tmp_path: Path) -> None:
    def broken(some: tuple[str, ...]) -> squares.Write:
        def written(path: Path, pixels: squares.Picture) -> None:
            squares.write_picture(path, pixels)
            if path.parent.name == "train" and path.stem in some:
                path.write_bytes(b"<html>not found</html>")

        return written

    few = squares.write(tmp_path / "few", written=broken(("2",)))
    report = data_sets.undecodable_training_images(few, None)
    assert report.problems == []
    assert "1 of 4 training images cannot be decoded" in report.notices[0]
    assert str(tmp_path / "few/train/2.png") in report.notices[0]
    most = squares.write(tmp_path / "most", written=broken(("1", "2", "3")))
    assert data_sets.undecodable_training_images(most, 4).problems[0].endswith("restore the files")


def test_all_training_images_are_looked_at_while_a_search_runs(tmp_path: Path) -> None:
    def many(found: squares.Content) -> None:
        for number in range(5, data_sets.SAMPLE + 8):
            name = f"more/{number}.png"
            found["images"].append({"id": number, "file_name": name, "height": squares.HEIGHT, "width": squares.WIDTH})
            squares.write_picture(tmp_path / "train" / name, np.zeros((squares.HEIGHT, squares.WIDTH, 3), np.uint8))

    data = squares.write(tmp_path, many, parts=("train",))
    files = sorted((tmp_path / "train").rglob("*.png"))
    for file in files:
        content = file.read_bytes()
        file.write_bytes(b"broken")
        if not data_sets.undecodable_training_images(data, data_sets.SAMPLE).notices:
            break  # not among those that are looked at beforehand
        file.write_bytes(content)
    else:
        pytest.fail("all images were looked at beforehand")
    spec = load_spec(find_space("quickstart")).model_copy(update={"data": data})
    told: list[str] = []
    shown = threading.Event()

    def noted(text: str) -> None:
        told.append(text)
        shown.set()

    with watched_images(spec, noted):
        assert shown.wait(60)
    assert str(file) in told[0]
    assert data_sets.undecodable_training_images(data, None, ended=lambda: True).notices == []


def test_composed_and_decomposed_names_are_one(tmp_path: Path) -> None:
    def decomposed(image: dict[str, Any]) -> None:
        image["file_name"] = unicodedata.normalize("NFD", image["file_name"])

    data = squares.write(tmp_path, each("images", decomposed), suffix="\u00e9\u202f\U0001f98a.png")
    assert problems_of(data) == []


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("said", ["exif", "stored"])
def test_every_turn_is_read_as_annotated(
    tmp_path: Path, suffix: str, orientation: int, said: Literal["exif", "stored"]
) -> None:
    """Files of every orientation, annotated either way, give the pixels that the annotations are of."""

    def written(path: Path, pixels: squares.Picture) -> None:
        stored = stored_pixels(pixels, orientation) if said == "exif" else pixels
        save(path, stored, orientation)

    part = {} if orientation >= 5 else {"orientation": said}  # the sizes of these say it
    data = squares.write(tmp_path, written=written, suffix=suffix, train=part, val=part)
    assert problems_of(data) == []
    split = data_sets.prepare(data).train
    assert split.orientation == said
    found = squares.content(suffix=suffix)
    for place, image in enumerate(found["images"]):
        size = image["height"], image["width"]
        content = (split.images / image["file_name"]).read_bytes()
        assert np.array_equal(decoded(content, said, size=size), squares.picture(found, place))


def test_images_that_are_in_both_parts_are_told(tmp_path: Path) -> None:
    data = squares.write(tmp_path)
    data_sets.fingerprint(data)
    assert data_sets.shared_images(data) == []
    (tmp_path / "val" / "2.png").write_bytes((tmp_path / "train" / "3.png").read_bytes())
    data_sets.fingerprint(data)
    (line,) = data_sets.shared_images(data)
    assert line.startswith("data: 1 of 4 validation images are training images too: 2.png")


# The peak is read of the program that runs: `ru_maxrss` goes back to what forked it.
BOMB = """
import sys
from pathlib import Path
from piip_workers.images.pictures import Pictures
pictures = Pictures(Path(sys.argv[1]), ["1.png", "2.png"])
(known, unknown) = pictures.headers(["1.png", "2.png"])
print(known.too_large, unknown.width, pictures.undecodable(["1.png", "2.png"]))
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def test_a_small_file_of_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    """Neither one whose header says it, nor one that the library which reads headers refuses."""
    for name, broken in (("1.png", False), ("2.png", True)):
        side = 20_000
        rows = zlib.compress(bytes((1 + side // 8) * side))
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))]
        chunks += [(b"gAMA", b"12")] if broken else []
        chunks += [(b"IDAT", rows), (b"IEND", b"")]
        content = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
        (tmp_path / name).write_bytes(content)
    ended = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    found, peak_mib = ended.stdout.splitlines()[-2:]
    assert found == "True 0 ['1.png', '2.png']"
    assert int(peak_mib) < 1000  # decoded they take 1.2 GB each


IMPORTED_WHERE = """
import sys, threading
from pathlib import Path
from piip_workers.images.pictures import Pictures
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cv2":
            threads.add(threading.current_thread() is threading.main_thread())
threads = set()
sys.meta_path.insert(0, Finder)
names = ["0.png", "1.png"]
print([header.width for header in Pictures(Path(sys.argv[1]), names).headers(names)], threads)
"""


def test_threads_do_not_meet_half_of_a_library(tmp_path: Path) -> None:
    """While one of them imports OpenCV, to look whether it is installed is an error for the others."""
    for number in range(2):
        (tmp_path / f"{number}.png").write_text("<html>404</html>", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED_WHERE, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.stdout.strip() == "[0, 0] {True}", ended.stderr
