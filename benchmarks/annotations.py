"""How long the checks of a large data set take, beside json's own reading of its annotations.

    python benchmarks/annotations.py [--images 118000] [--objects 860000] [--corners 20]

Writes annotations of COCO's size into a temporary folder, with polygons of random corners, and as many image files as
they name, which are links to a few. Checked as a command does: with masks, for the first time and once more.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, CLASSES = 640, 480, 80


def write(file: Path, images: int, objects: int, corners: int) -> None:
    draw = random.Random(0)
    with file.open("w", encoding="utf-8") as out:
        out.write('{"images": [')
        for number in range(1, images + 1):
            entry = {"id": number, "file_name": f"{number:012d}.jpg", "height": HEIGHT, "width": WIDTH}
            out.write(f"{', ' if number > 1 else ''}{json.dumps(entry)}")
        out.write('], "annotations": [')
        for number in range(1, objects + 1):
            out.write(f"{', ' if number > 1 else ''}{json.dumps(an_object(draw, number, images, corners))}")
        names = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
        out.write(f'], "categories": {json.dumps(names)}}}')


def an_object(draw: random.Random, number: int, images: int, corners: int) -> dict[str, object]:
    left, top = draw.uniform(0, WIDTH - 40), draw.uniform(0, HEIGHT - 40)
    width, height = draw.uniform(20, WIDTH - left), draw.uniform(20, HEIGHT - top)
    outline = [left, top, left + width, top + height]
    for _ in range(corners - 2):
        outline += [left + width * draw.random(), top + height * draw.random()]
    return {
        "id": number,
        "image_id": draw.randint(1, images),
        "category_id": draw.randint(1, CLASSES),
        "bbox": [round(value, 2) for value in (left, top, width, height)],
        "area": round(width * height / 2, 2),
        "iscrowd": 0,
        "segmentation": [[round(value, 2) for value in outline]],
    }


CHECK = """
from piip_search.tasks.detection.section import DetectionData
from piip_workers.tasks.detection import data
part = {{"images": "images", "annotations": "instances.json"}}
told = []
report = data.examine(Data.model_validate({{"root": {folder!r}, "train": part, "val": part}}), True, told.append)
assert not report.problems, report.problems
assert len(told) > 2, "it says how far it is"
"""
JSON = "import json; json.load(open({folder!r} + '/instances.json'))"
MOST_LINKS = 50_000
"""Of one file; file systems have a bound."""


def write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    noise = np.random.default_rng(0)
    first = folder
    for number in range(1, count + 1):
        file = folder / f"{number:012d}.jpg"
        if number % MOST_LINKS == 1:
            pixels = noise.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(file, quality=90)
            first = file
        else:
            file.hardlink_to(first)


def cost(code: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MiB of a process that runs some code."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # `ru_maxrss` goes back to the process that forked this one; the peak in /proc is of the program alone.
    peak = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    measured = f"{code}\n{peak}"
    output = subprocess.run([sys.executable, "-c", measured], check=True, capture_output=True, text=True).stdout
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, int(output.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--objects", type=int, default=860_000)
    parser.add_argument("--corners", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "instances.json")
        write(file, options.images, options.objects, options.corners)
        print(f"{options.images:,} images, {options.objects:,} objects, {file.stat().st_size / 1e6:.0f} MB")
        write_images(Path(folder, "images"), options.images)
        os.environ["PIIP_SEARCH_CACHE"] = str(Path(folder, "cache"))
        time.sleep(3)  # what is known of a file is kept once it is a while old
        tried = (("checks", CHECK), ("checks again", CHECK), ("json.load", JSON))
        found = {name: cost(code.format(folder=folder)) for name, code in tried}
    for name, (seconds, cpu, memory) in found.items():
        print(f"{name:12} {seconds:6.1f} s, {cpu:6.1f} s of CPU, {memory:6,.0f} MiB")
    print(
        f"checks / json.load: {found['checks'][1] / found['json.load'][1]:.2f} of the CPU time, "
        f"{found['checks'][2] / found['json.load'][2]:.2f} of the memory"
    )


if __name__ == "__main__":
    main()
