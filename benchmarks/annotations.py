"""How long the checks of a large annotation file take, beside json's own reading of it.

    python benchmarks/annotations.py [--images 118000] [--objects 860000] [--corners 20]

Writes a file of COCO's size into a temporary folder, with polygons of random corners, and checks it without images.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
from pathlib import Path
from piip_workers.annotation_file import read_annotations
from piip_workers.boxes import look_at_boxes
from piip_workers.coco_data import contents_of
found = read_annotations(Path({file!r}), masks=True)
look_at_boxes(found, True, found.findings)
contents_of(found)
problems, notices = found.findings.lines(found.totals)
assert not problems, problems
"""
JSON = "import json; json.load(open({file!r}))"


def cost(code: str) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MiB of a process that runs some code."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    measured = f"{code}\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
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
        found = {name: cost(code.format(file=str(file))) for name, code in (("checks", CHECK), ("json.load", JSON))}
    for name, (seconds, cpu, memory) in found.items():
        print(f"{name:10} {seconds:6.1f} s, {cpu:6.1f} s of CPU, {memory:6,.0f} MiB")
    print(f"checks / json.load: {found['checks'][1] / found['json.load'][1]:.2f} of the CPU time, "
          f"{found['checks'][2] / found['json.load'][2]:.2f} of the memory")  # fmt: skip


if __name__ == "__main__":
    main()
