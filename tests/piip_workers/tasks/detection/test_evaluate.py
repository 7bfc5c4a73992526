"""Real trainings of the smallest kind."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from piip_search.architecture import Architecture
from piip_search.evaluation.evaluation import Candidate, Evaluation, Fidelity
from piip_search.tasks.detection.mmdet.detectors import DetectorMaps
from piip_search.tasks.detection.section import DetectionData, DetectionTraining

torch = pytest.importorskip("torch")
pytest.importorskip("mmdet")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("training")]

from piip_search.errors import MachineError  # noqa: E402
from piip_workers.networks.proxies import out_of_memory  # noqa: E402
from piip_workers.tasks.detection.data import measured_images, prepare  # noqa: E402
from piip_workers.tasks.detection.evaluate import measure  # noqa: E402

TRAINING = {"detector": "retinanet", "channels": 32, "batch_size": 4, "learning_rate": 1e-3, "anchor_scale": 2.5}
CANDIDATE = Candidate(0, Architecture.parse("vit_nano@32:g+vit_pico@64:g*2"), Fidelity(2), seed=3)


def train(data: DetectionData, folder: Path, candidate: Candidate = CANDIDATE, **changes: Any) -> Evaluation:
    evaluation = measure(candidate, data.model_dump(mode="json"), {**TRAINING, **changes}, str(folder))
    return evaluation


def comparable(evaluation: Evaluation) -> tuple[Any, ...]:
    return evaluation.status, dict(evaluation.metrics), [row["loss"] for row in evaluation.history]


def test_equal_seeds_train_equally_and_a_cut_training_ends_the_same(
    small: DetectionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(small, tmp_path / "a")
    assert straight.error == ""
    assert comparable(straight) == comparable(train(small, tmp_path / "b"))
    assert [row["epoch"] for row in straight.history] == [1.0, 2.0]
    assert straight.history[1]["loss"] < straight.history[0]["loss"]
    assert straight.facts.trained == CANDIDATE.architecture.name
    assert straight.facts.images == 12
    other = train(small, tmp_path / "c", dataclasses.replace(CANDIDATE, seed=4))
    assert comparable(other) != comparable(straight)

    # The process goes away in the middle of the second epoch, after the first one's checkpoint.
    from piip_workers.tasks.detection import proxy_training

    after = proxy_training._Observer.after_train_iter

    def cut(self: Any, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.epoch == 1:
            raise KeyboardInterrupt
        after(self, runner, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(proxy_training._Observer, "after_train_iter", cut)
        with pytest.raises(KeyboardInterrupt):
            train(small, tmp_path / "d")
    assert comparable(train(small, tmp_path / "d")) == comparable(straight)

    # Checkpoints that a dying process left half written are passed over.
    for number, left in enumerate((["epoch_2.pth"], ["epoch_1.pth", "epoch_2.pth"])):
        train(small, tmp_path / f"e{number}", dataclasses.replace(CANDIDATE, fidelity=Fidelity(1, horizon=2)))
        (folder,) = (tmp_path / f"e{number}").iterdir()
        whole = (folder / "epoch_1.pth").read_bytes()
        for name in left:
            (folder / name).write_bytes(whole[:1000])
        assert comparable(train(small, tmp_path / f"e{number}")) == comparable(straight)


def weights(folder: Path) -> dict[str, Any]:
    """The model's tensors of the one training in a folder."""
    from mmengine.runner import CheckpointLoader

    (file,) = folder.rglob("epoch_*.pth")
    state: dict[str, Any] = CheckpointLoader.load_checkpoint(str(file), map_location="cpu")["state_dict"]
    return state


def test_a_training_that_goes_on_rung_after_rung_is_one_that_ran_straight_through(
    small: DetectionData, tmp_path: Path
) -> None:
    rungs = [dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs, horizon=3)) for epochs in (1, 2, 3)]
    jitter = {"scale_jitter": [0.8, 1.25], "colour_jitter": True}
    climbed = [train(small, tmp_path / "climbed", rung, **jitter) for rung in rungs]
    assert len({evaluation.facts.training for evaluation in climbed}) == 1
    straight = train(small, tmp_path / "straight", rungs[-1], **jitter)
    assert straight.error == ""
    assert straight.metrics == climbed[-1].metrics
    assert [row["loss"] for row in straight.history] == [row["loss"] for row in climbed[-1].history]
    first, second = weights(tmp_path / "climbed"), weights(tmp_path / "straight")
    assert all(first[name].equal(second[name]) for name in second)
    # A lower rung that is asked for again is measured as it was, though the training has gone further.
    assert comparable(train(small, tmp_path / "climbed", rungs[0], **jitter)) == comparable(climbed[0])
    (history,) = (tmp_path / "climbed").rglob("history.json")
    assert [row["epoch"] for row in json.loads(history.read_text(encoding="utf-8"))] == [1.0, 2.0, 3.0]


def test_results_do_not_depend_on_how_images_are_read(small: DetectionData, tmp_path: Path) -> None:
    jitter = {"scale_jitter": [0.8, 1.25], "colour_jitter": True}
    alone = train(small, tmp_path / "a", cache_mib=0, **jitter)
    assert alone.error == ""
    assert comparable(alone) == comparable(train(small, tmp_path / "b", loader_workers=2, **jitter))
    measured = train(small, tmp_path / "c", measure_every=1, **jitter)
    assert measured.metrics == alone.metrics
    assert all("bbox_mAP" in row for row in measured.history)


def test_two_processes_never_train_in_one_folder(
    small: DetectionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from piip_workers.jobs import job

    monkeypatch.setattr(job, "LONGEST_CLAIM_WAIT", 0.1)
    folder = tmp_path / CANDIDATE.training
    folder.mkdir()
    with job.alone(folder / "lock"), pytest.raises(job.MachineError, match="another process holds"):
        train(small, tmp_path)


def test_several_seeds_are_one_evaluation_with_their_means(small: DetectionData, tmp_path: Path) -> None:
    once = [
        train(small, tmp_path / "one", dataclasses.replace(CANDIDATE, fidelity=Fidelity(1), seed=seed))
        for seed in (3, 4)
    ]
    several = dataclasses.replace(CANDIDATE, fidelity=Fidelity(1, seeds=2))
    found = train(small, tmp_path / "both", several)
    assert found.error == ""
    assert found.candidate == several
    values = [evaluation.metrics["bbox_mAP_50"] for evaluation in once]
    assert found.metrics["bbox_mAP_50"] == pytest.approx(sum(values) / 2)
    assert found.facts.deviation["bbox_mAP_50"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert found.facts.seeds == {str(e.candidate.seed): e.metrics for e in once}
    assert found.history[0]["loss"] == pytest.approx(sum(e.history[0]["loss"] for e in once) / 2)
    # Each seed has its own folder, which a single training of that seed would go on from; the first one's is exported.
    assert {path.name for path in (tmp_path / "both").iterdir()} == {e.candidate.training for e in once}
    assert Path(found.facts.folder).name == once[0].candidate.training
    failed = train(small, tmp_path / "bad", several, learning_rate=1e30, warmup=0.0, clip_norm=1e30, batch_size=2)
    assert failed.error.startswith("seed 3: FloatingPointError: the loss is")


def test_a_proxy_uses_less_and_says_what_it_trained(small: DetectionData, tmp_path: Path) -> None:
    fidelity = Fidelity(epochs=1, data_fraction=0.5, image_scale=0.5)
    candidate = dataclasses.replace(CANDIDATE, fidelity=fidelity)
    evaluation = train(small, tmp_path, candidate)
    assert evaluation.error == ""
    assert evaluation.candidate == candidate
    assert evaluation.facts.trained == "vit_nano@16:g+vit_pico@32:g*2"
    assert evaluation.facts.images == 6


def test_no_epoch_measures_the_untrained_model(small: DetectionData, tmp_path: Path) -> None:
    evaluation = train(small, tmp_path, dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs=0)))
    assert evaluation.error == ""
    assert evaluation.metrics["bbox_mAP"] < 0.01
    assert {"bbox_mAP", "bbox_mAP_50", "bbox_mAP_75"} < set(evaluation.metrics)
    assert evaluation.history == ()


@pytest.mark.parametrize("images", [None, 3])
def test_validation_images_without_any_object_measure_nothing(
    small: DetectionData, tmp_path: Path, images: int | None
) -> None:
    """`val_images` is named where the others hold objects, and nowhere else."""
    assert small.root is not None
    file = small.root / "val.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    untrained = dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs=0))

    def error(annotations: list[dict[str, Any]], name: str) -> str:
        file.write_text(json.dumps({**content, "annotations": annotations}), encoding="utf-8")
        return train(small, tmp_path / name, untrained, val_images=images).error

    assert error([], "none") == (
        f"no validation image holds an object: {file} has no annotations; label the images, or name another file"
    )
    crowds = [{**entry, "iscrowd": 1} for entry in content["annotations"]]
    assert f"all {len(crowds)} objects of {file} are crowds or ignored" in error(crowds, "crowds")
    if images is None:
        return
    measured = measured_images(prepare(small).val, images)
    assert measured is not None
    kept = {image["id"] for place, image in enumerate(content["images"]) if place not in measured}
    elsewhere = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    assert error(elsewhere, "elsewhere") == (
        "none of the 3 validation images that are measured holds an object that counts, and others do; "
        "raise training.val_images, or leave it out"
    )


@pytest.mark.parametrize("detector", ["fcos", "mask_rcnn"])
def test_the_other_detectors_train(small: DetectionData, tmp_path: Path, detector: str) -> None:
    candidate = dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs=1))
    evaluation = train(small, tmp_path, candidate, detector=detector, anchor_scale=None)
    assert evaluation.error == ""
    assert ("segm_mAP" in evaluation.metrics) == (detector == "mask_rcnn")


def test_a_loss_that_explodes_fails_with_the_reason(small: DetectionData, tmp_path: Path) -> None:
    evaluation = train(small, tmp_path, learning_rate=1e30, warmup=0.0, clip_norm=1e30)
    assert evaluation.status == "failed"
    assert evaluation.error.startswith("FloatingPointError: the loss is")
    assert evaluation.error.endswith("; lower training.learning_rate or training.clip_norm")
    assert "Traceback" in next(tmp_path.rglob("error.txt")).read_text(encoding="utf-8")


def test_a_corrupt_training_image_is_passed_over_and_said(small: DetectionData, tmp_path: Path) -> None:
    assert small.root is not None
    (small.root / "train" / "0003.png").write_bytes(b"no picture")
    (small.root / "train" / "0004.png").write_bytes(b"")
    evaluation = train(small, tmp_path / "run")
    assert evaluation.error == ""
    assert evaluation.facts.unreadable_images == 2
    assert [Path(path).name for path in evaluation.facts.unreadable] == ["0003.png", "0004.png"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_validation_image_fails_with_its_name(small: DetectionData, tmp_path: Path, workers: int) -> None:
    assert small.root is not None
    image = next((small.root / "val").iterdir())
    image.write_bytes(b"no picture")
    untrained = dataclasses.replace(CANDIDATE, fidelity=Fidelity(0))
    evaluation = train(small, tmp_path / "run", untrained, loader_workers=workers)
    assert evaluation.error == (f"{image} cannot be decoded; restore the file, or remove it from the annotations")


@pytest.mark.parametrize("workers", [0, 1])
def test_storage_that_fails_is_no_fault_of_the_candidate(small: DetectionData, tmp_path: Path, workers: int) -> None:
    assert small.root is not None
    image = next((small.root / "val").iterdir())
    image.unlink()
    image.mkdir()  # reading it is an error of the system
    untrained = dataclasses.replace(CANDIDATE, fidelity=Fidelity(0))
    with pytest.raises(MachineError, match=rf"cannot read .*{image.name}: .*; repair its storage") as caught:
        train(small, tmp_path / "run", untrained, loader_workers=workers)
    assert "Traceback" not in str(caught.value)


def test_a_folder_that_is_gone_is_a_lost_mount(small: DetectionData, tmp_path: Path) -> None:
    assert small.root is not None
    (small.root / "train").rename(small.root / "elsewhere")
    with pytest.raises(MachineError, match="repair its storage"):
        train(small, tmp_path / "run")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError("Unable to allocate 7.5 GiB for an array"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("unable to mmap 1024 bytes from file </torch_1_2>: Cannot allocate memory (12)"), True),
        (RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. "), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 9x3)"), False),
        (RuntimeError("DataLoader worker (pid 17) is killed by signal: Segmentation fault. "), False),
        (ValueError("no training image holds an object"), False),
    ],
)
def test_memory_runs_out_in_many_words(error: Exception, said: bool) -> None:
    assert out_of_memory(error) == said


def test_images_without_objects_and_classes_without_images_are_survived(small: DetectionData, tmp_path: Path) -> None:
    assert small.root is not None
    file = small.root / "train.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    empty = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != empty]
    file.write_text(json.dumps(content), encoding="utf-8")
    file = small.root / "val.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    missing = content["annotations"][0]["category_id"]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] != missing]
    file.write_text(json.dumps(content), encoding="utf-8")
    evaluation = train(small, tmp_path / "run")
    assert evaluation.error == ""
    assert evaluation.facts.images == 11
    assert "bbox_mAP" in evaluation.metrics


def little_memory(folder: Path, images: int) -> str:
    """A detector that has memory for so many images."""
    from mmdet.models import DetDataPreprocessor
    from mmdet.registry import MODELS

    @MODELS.register_module(name=f"MemoryFor{images}", force=True)
    class Preprocessor(DetDataPreprocessor):  # type: ignore[misc]
        def forward(self, data: dict[str, Any], training: bool = False) -> Any:
            if len(data["inputs"]) > images:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().forward(data, training)

    path = folder / f"memory_{images}.py"
    path.write_text(
        "_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py']\n"
        f"model = dict(data_preprocessor=dict(type='MemoryFor{images}'))\n",
        encoding="utf-8",
    )
    return str(path)


def test_out_of_memory_halves_the_batch_once(small: DetectionData, tmp_path: Path) -> None:
    settings = {"detector": little_memory(tmp_path, 2), "anchor_scale": None}
    halved = train(small, tmp_path / "run", **settings)
    assert halved.error == ""
    assert halved.facts.accumulated == 2
    assert "Tried to allocate" in halved.facts.halved_batch
    assert halved.facts.peak_memory_mib > 0
    assert comparable(train(small, tmp_path / "run", **settings)) == comparable(halved)
    failed = train(small, tmp_path / "none", **settings | {"detector": little_memory(tmp_path, 1)})
    assert failed.error.startswith("MemoryError: half of a step's images do not fit the memory either: OutOfMemory")


def test_a_candidate_starts_from_a_relatives_weights(small: DetectionData, tmp_path: Path) -> None:
    parent = train(small, tmp_path, inherit=True)
    assert parent.error == ""
    more = dataclasses.replace(
        CANDIDATE, design=Architecture.parse("vit_nano@32:g+vit_pico@64:w2*3"), parent=CANDIDATE.weights
    )
    untrained = dataclasses.replace(more, fidelity=Fidelity(0))
    child = train(small, tmp_path, untrained)
    assert child.error == ""
    assert child.facts.inherited_from == CANDIDATE.weights
    assert "tensors taken over; fresh: interactions" in child.facts.inherited
    scratch = train(small, tmp_path, dataclasses.replace(more, parent=None))
    started = train(small, tmp_path, more)
    assert started.history[0]["loss"] < scratch.history[0]["loss"]
    # Ledgers of earlier versions name no epochs.
    older = train(small, tmp_path, dataclasses.replace(untrained, parent=CANDIDATE.training))
    assert older.metrics == child.metrics
    for name in (f"{CANDIDATE.training}@1", "0" * 16 + "-00000000", "0" * 16 + "-00000000@2"):
        lost = train(small, tmp_path, dataclasses.replace(untrained, parent=name))
        assert "no weights of the relative" in lost.error


def test_what_is_inherited_does_not_depend_on_how_far_the_relative_went(small: DetectionData, tmp_path: Path) -> None:
    parent, further = (dataclasses.replace(CANDIDATE, fidelity=Fidelity(epochs, horizon=2)) for epochs in (1, 2))
    child = dataclasses.replace(
        CANDIDATE, design=Architecture.parse("vit_nano@32:g"), parent=parent.weights, fidelity=Fidelity(1)
    )
    for before in ((parent,), (parent, further)):
        folder = tmp_path / str(len(before))
        for candidate in before:
            assert train(small, folder, candidate, inherit=True).error == ""
    early, late = (train(small, tmp_path / str(count), child) for count in (1, 2))
    assert early.error == ""
    assert comparable(early) == comparable(late)


# With the published layers of 1,024 channels the test would take 2.4 GB, and its checkpoint 0.6 GB.
SMALL_BOX_HEADS = """[
    dict(
        type="Shared2FCBBoxHead", in_channels=256, fc_out_channels=32, roi_feat_size=7, reg_class_agnostic=True,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[std, std, 2 * std, 2 * std]),
        loss_cls=dict(type="CrossEntropyLoss"), loss_bbox=dict(type="SmoothL1Loss"),
    )
    for std in (0.1, 0.067, 0.033)
]"""
SMALL = {
    "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py": (
        f"dict(roi_head=dict(bbox_head={SMALL_BOX_HEADS}),"
        " train_cfg=dict(rpn_proposal=dict(max_per_img=40)), test_cfg=dict(rpn=dict(max_per_img=40)))"
    ),
    "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py": "dict(encoder=dict(num_layers=1), decoder=dict(num_layers=1))",
    "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py": "dict()",
    "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py": "dict()",
}


@pytest.mark.parametrize("base", SMALL)
def test_any_detector_of_mmdet_trains(small: DetectionData, tmp_path: Path, base: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(f"_base_ = ['{base}']\nmodel = {SMALL[base]}\n", encoding="utf-8")
    candidate = dataclasses.replace(CANDIDATE, fidelity=Fidelity(1))
    evaluation = train(small, tmp_path, candidate, detector=str(file), anchor_scale=None, val_images=3)
    assert evaluation.error == ""
    assert ("segm_mAP" in evaluation.metrics) == ("mask" in base)
    # As many as the smallest image has positions in maps of strides 8 to 64, where there are fewer than 900.
    assert evaluation.facts.queries == (64 + 16 + 4 + 1 if "dino" in base else 0)


@pytest.mark.parametrize(
    ("name", "levels", "masks"),
    [("atss", 4, False), ("cascade_rcnn", 4, False), ("cascade_mask_rcnn", 4, True), ("dino", 3, False)],
)
def test_detectors_are_known_by_short_names(name: str, levels: int, masks: bool) -> None:
    from piip_workers.tasks.detection.detectors import detector_config_of

    detector_config = detector_config_of(DetectionTraining(detector=name))
    assert (len(detector_config.strides), detector_config.masks) == (levels, masks)
    settings = detector_config.settings(
        DetectionTraining(detector=name, max_detections=7), 3, DetectorMaps((64,) * levels, (256, 256))
    )
    assert settings["neck"]["in_channels"] == [64] * levels
    assert "7" in str(settings["test_cfg"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model = dict(", "cannot be read: SyntaxError"),
        ("lr = 1", "has no model with a backbone"),
        ("model = dict(backbone=dict(), neck=dict(in_channels=[8]))", "the neck of .* must read 3 or 4 maps"),
    ],
)
def test_configurations_that_are_no_detectors_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    from piip_workers.tasks.detection.detectors import detector_config_of

    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        detector_config_of(DetectionTraining(detector=str(tmp_path / "own.py")))
    with pytest.raises(ValueError, match="no configuration"):
        detector_config_of(DetectionTraining(detector=str(tmp_path / "none.py")))
