"""Stands in for training where a test is about something else: instant, and with a known best."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from piip_search.architecture.backbones import BACKBONES, Backbone
from piip_search.evaluation.evaluation import Candidate, Evaluation


def quality(candidate: Candidate) -> float:
    """More pixels are better, with diminishing returns; interactions help a little."""
    pixels = sum(branch.resolution for branch in candidate.architecture.branches)
    return pixels / (pixels + 200) + 0.01 * candidate.architecture.interaction.count


def noted(candidate: Candidate, log: str, seconds: float = 0.0) -> Evaluation:
    """An evaluation that writes into a file where, from when to when, and with how much of a GPU it was made."""
    began = time.time()
    time.sleep(seconds)
    import ray

    context = ray.get_runtime_context()
    note = {
        "number": candidate.number,
        "node": context.get_node_id(),
        "process": os.getpid(),
        "began": began,
        "ended": time.time(),
        "resources": context.get_assigned_resources(),
        "kept_to": os.environ.pop("KEPT_TO", None),
    }
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")
    return Evaluation(candidate, "done", {"bbox_mAP": quality(candidate)}, seconds=0.5)


def counted(candidate: Candidate, log: str, seconds: float = 0.0) -> Evaluation:
    """An evaluation that writes a line into a file once it is made."""
    time.sleep(seconds)
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{candidate.number}\n")
    return Evaluation(candidate, "done", {"bbox_mAP": quality(candidate)})


def keep_to(share: float) -> None:
    """Stands in for a cap on a GPU's memory."""
    os.environ["KEPT_TO"] = str(share)


def measure(
    candidate: Candidate,
    seconds: float = 0.0,
    fail: tuple[int, ...] = (),
    die: int | None = None,
    full: bool = False,
) -> Evaluation:
    """An evaluation without training.

    Args:
        candidate: What to measure.
        seconds: Time to take.
        fail: Numbers of candidates that raise.
        die: Number of the candidate that takes its process with it.
        full: Whether the disk is full.
    """
    time.sleep(seconds)
    number = candidate.number
    if number in fail:
        raise ValueError("out of luck")
    if full:
        Path("/dev/full").write_text("x", encoding="utf-8")
    if number == die:
        os._exit(1)
    history = ({"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0})
    return Evaluation(candidate, "done", {"bbox_mAP": quality(candidate)}, seconds=0.5, history=history)


@contextmanager
def registered(backbone: Backbone) -> Iterator[str]:
    """The name under which a backbone of a test's own can be typed meanwhile."""
    BACKBONES[backbone.name] = backbone
    yield backbone.name
    del BACKBONES[backbone.name]
