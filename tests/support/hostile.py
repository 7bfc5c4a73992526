"""Spaces and annotation files as nobody should write them: well-formed ones with something wrong in them, by chance."""

import copy
import json
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from piip_search.config import SpecError, load_spec
from piip_search.errors import UserError

MOST_COMBINATIONS = 200_000
"""Spaces of more designs are read, and not looked through: that takes its time by design."""
SPACE: dict[str, Any] = {
    "name": "small",
    "seed": 0,
    "sampler": "piip",
    "space": {
        "backbones": ["vit_micro", "vit_nano", "vit_w32_d2_h2"],
        "resolutions": [32, 64, 96],
        "windows": ["global", 4, "4g2"],
        "interactions": [0, 1],
        "branches": [1, 2],
        "pairing": "inverted",
        "steps": None,
        "heads": 16,
    },
    "limit": {"gmacs": [0.05, 0.1], "convention": "backbone", "mparams": None},
    "budget": {"trials": 12, "hours": 2.5, "target": "best <= 0.05 G >= 0.3"},
    "data": {"embedded": "digits"},
    "fidelity": {"epochs": 6, "data_fraction": 0.5, "image_scale": 1.0},
    "schedule": {"rungs": [2], "keep": 3},
    "training": {
        "detector": "retinanet",
        "channels": 64,
        "batch_size": 2,
        "learning_rate": 1.0e-3,
        "scale_jitter": [0.8, 1.25],
        "pretrained": None,
    },
    "resources": {"cpu": 1, "gpu": 0.5, "gpu_memory": 80, "custom": {"a100": 1}},
}
COCO: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "one.png", "height": 40, "width": 50},
        {"id": 2, "file_name": "two.png", "height": 40, "width": 50},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12.5], "area": 125, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [3, 4, 10, 10], "area": 100, "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "rod"}],
}
NASTY: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**64),
    10**30,
    10**400,
    0.0,
    -0.5,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "x",
    "\x00",
    "a\x00b",
    "\u202e",
    "\ud7ff",
    "名前",
    "a" * 5000,
    "../up",
    "/etc/passwd",
    "~",
    ".",
    "nan",
    "1e999",
    "!!python/object/apply:os.system ['true']",
    "{{ $HOME:x }}",
    "{{ fileDirname }}",
    "'; import os #",
    "vit_w999999999_d999999999_h1",
    "vit_w16_d9_h0",
    "vit_t",
    "14g0",
    "99999999999999999999",
    "global",
    "digits",
    "mask_rcnn",
    [],
    [[]],
    {},
    {"": ""},
    [None],
    [1, [2, [3]]],
    {"a": {"b": {"c": 1}}},
    [float("nan")] * 4,
    [1e308] * 4,
    list(range(200)),
    ["vit_micro"] * 50,
    "2024-01-01",
    "0o17",
    "1_000",
    "0x10",
    "=",
    "<<",
    "*",
    "&a",
    "- -",
    ": :",
)
TEXTS = (
    "name: twice\n",
    "? [1, 2]\n: x\n",
    "1: 2\n",
    "~: ~\n",
    "<<: *a\n",
    "a: &a [*a]\n",
    "\t\tx: 1\n",
    "!!binary x\n",
    "d: 2024-13-45\n",
    "x: 1e400\n",
    "y: " + "9" * 5000 + "\n",
    "z: 0x" + "f" * 9000 + "\n",
    "space: 3\n",
    "---\na: 1\n",
    "%YAML 9.9\n",
    "x: !!python/object/apply:os.system ['touch owned']\n",
    "\x07",
    "\ufeff",
    "- x\n",
    "s: !!set {a, b}\n",
    "o: !!omap [a: 1]\n",
    "x: " + "[" * 3000 + "]" * 3000 + "\n",
    "x: " + "{a: " * 200 + "1" + "}" * 200 + "\n",
    "t: 1:30:00\n",
    "? \n",
    "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]\n",
)


def places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested data."""
    yield here
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from places(value, (*here, key))


def damaged(content: Any, chance: random.Random) -> Any:
    """The same with one to three things wrong: values replaced, removed, doubled or moved."""
    changed = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.choice(list(places(changed)))
        if not place:
            continue
        parent = changed
        for key in place[:-1]:
            parent = parent[key]
        key, what = place[-1], chance.random()
        if what < 0.7:
            parent[key] = copy.deepcopy(chance.choice(NASTY))
        elif what < 0.8:
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[chance.choice(["unknown", "name", 7, None, "\u0301", 1.5])] = copy.deepcopy(chance.choice(NASTY))
    return changed


def damaged_text(text: str, chance: random.Random) -> bytes:
    """The same with letters, lines or bytes changed."""
    for _ in range(chance.randint(1, 4)):
        at, what = chance.randint(0, len(text)), chance.random()
        if what < 0.3:
            text = text[:at] + chance.choice(TEXTS) + text[at:]
        elif what < 0.5:
            text = text[:at] + text[at + chance.randint(1, 30) :]
        elif what < 0.7:
            text = text[:at] + chance.choice("{}[]:,-#&*!|>'\"%@`\n\t \x00\x1b0") + text[at:]
        else:
            line = text[:at].count("\n")
            lines = text.split("\n")
            lines.insert(chance.randint(0, len(lines)), lines[min(line, len(lines) - 1)])
            text = "\n".join(lines)
    content = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.2:
        return chance.choice([text.encode("utf-16"), b"\xff\xfe" + content, content[: len(content) // 2] + b"\xc3\x28"])
    return content


def hostile_space(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return damaged_text(yaml.safe_dump(SPACE), chance)
    return yaml.safe_dump(damaged(SPACE, chance), allow_unicode=True).encode("utf-8", "surrogatepass")


def hostile_annotations(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return damaged_text(json.dumps(COCO), chance)
    return json.dumps(damaged(COCO, chance)).encode()


@dataclass(frozen=True)
class Outcome:
    """What came of a file: accepted, refused with a message, or what should not be."""

    kind: str
    text: str = ""


class Slow(BaseException):
    """A file took longer than it may."""


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome_of(read: Callable[[], object], named: Path, seconds: int = 20) -> Outcome:
    """Reads a file as a command does: an error must be one that a user is shown, and name the file."""
    try:
        with deadline(seconds):
            read()
    except (SpecError, UserError, ValueError, OSError) as error:
        text = str(error)
        known = isinstance(error, SpecError | UserError)
        return Outcome("refused", text) if known and str(named) in text else Outcome("wrong", f"{error!r:.300}")
    except Slow:
        return Outcome("slow", f"longer than {seconds} s")
    except BaseException as error:
        return Outcome("wrong", f"{type(error).__name__}: {error!s:.300}")
    return Outcome("accepted")


def space_outcome(content: bytes, folder: Path) -> Outcome:
    """Reads a space and looks through what it holds."""
    from piip_search.search.feasible import feasible_designs

    path = folder / "space.yaml"
    path.write_bytes(content)

    def read() -> None:
        spec = load_spec(path)
        if not 0 < spec.space.build().combinations <= MOST_COMBINATIONS:
            return
        feasible_designs(spec, path)

    return outcome_of(read, path)


def annotations_outcome(content: bytes, folder: Path) -> Outcome:
    """Checks a data set whose training annotations are these."""
    from piip_search.tasks.detection.section import DetectionData
    from piip_workers.tasks.detection import data as data_sets

    path = folder / "train.json"
    if not (folder / "val.json").exists():
        (folder / "val.json").write_text(json.dumps(COCO), encoding="utf-8")
        for name in ("train", "val"):
            (folder / name).mkdir()
            for image in ("one.png", "two.png"):
                (folder / name / image).write_bytes(b"x")
    path.write_bytes(content)
    parts = {part: {"images": part, "annotations": f"{part}.json"} for part in ("train", "val")}
    data = DetectionData.model_validate({"root": folder, **parts})

    def read() -> None:
        problems = data_sets.check(data)
        if problems:
            raise SpecError(path, problems)
        data_sets.fingerprint(data)
        assert data_sets.prepare(data).classes

    return outcome_of(read, path)


def temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="piip-hostile-")
