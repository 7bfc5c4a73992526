"""Sections `data` and `training` of the task classification."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from piip_search.sections import DataSection, Section, TrainingSection
from piip_search.sections.fields import FilePath, Share

AUGMENTATION = re.compile(r"(rand|augmix)(-[a-z]+[0-9.]*)*|(original|originalr|v0|v0r|3a)(-[a-z]+[0-9.]*)*")
"""Names of timm's augmentations."""
DIGIT_CLASSES = tuple("0123456789")
"""Classes of the embedded digits."""

Area = Annotated[tuple[Share, Share], Field(strict=False)]
"""Least and greatest share of an image's area."""


class ClassPart(Section):
    """One part of a data set: a folder of class folders, or a list of images with their classes.

    Attributes:
        images: Folder of the class folders, or of the images of the list; relative to the data root.
        list: CSV or Parquet file with one row an image, relative to the data root; None for class folders.
        file_column: Column of the list with the images' names; None for the first one.
        label_column: Column of the list with the classes; None for the second one.
    """

    images: FilePath
    list: FilePath | None = None
    file_column: str | None = None
    label_column: str | None = None

    @model_validator(mode="after")
    def _columns_are_of_a_list(self) -> Self:
        if self.list is None and (self.file_column or self.label_column):
            raise ValueError("file_column and label_column are columns of a list; give list, or leave them out")
        return self


def _part(value: Any) -> Any:
    """A folder's name alone stands for a folder of class folders."""
    return {"images": value} if isinstance(value, str | Path) else value


AnyPart = Annotated[ClassPart, BeforeValidator(_part)]
"""A part in a file: a folder's name, or a mapping."""


class ClassificationData(DataSection):
    """The data set: folders of class folders, lists of images, or `embedded: digits`, which needs no download.

    Attributes:
        embedded: A data set that is created on first use.
        root: Folder of the two parts; relative to the working directory.
        train: Part for training proxies; its classes number those of both parts.
        val: Part for measuring them.
        classes: Names of the classes in the order of a network's outputs; None takes those of training, sorted.
    """

    embedded: Literal["digits"] | None = None
    train: AnyPart | None = None
    val: AnyPart | None = None
    classes: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = None

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        own = (self.root, self.train, self.val, self.classes)
        if self.embedded and any(part is not None for part in own):
            raise ValueError("give either embedded or root, train and val, not both")
        if not self.embedded and any(part is None for part in own[:3]):
            raise ValueError(
                "give root, train and val, which are folders of class folders or lists, or embedded: digits"
            )
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"classes must differ, got {twice!r} twice")
        return self

    @property
    def title(self) -> str:
        return self.embedded or super().title

    @property
    def outputs(self) -> int | None:
        names = DIGIT_CLASSES if self.embedded else self.classes
        return None if names is None else len(names)


class ClassificationTraining(TrainingSection):
    """The training of a classifier.

    Attributes:
        norm: Normalisation of pixels: `half` to the range from -1 to 1, as AugReg's ViTs and the small weights of this
            package have it; `imagenet` by ImageNet's mean and deviation, as DeiT's.
        new_parts: Factor on the learning rate of what is not a branch: interactions, merge and a head on the merged
            map. The papers have 10 beside pre-trained branches.
        crop: Least and greatest share of an image's area that a random crop has.
        flip: Probability of a horizontal flip.
        augment: timm's name of a random augmentation, such as `rand-m9-mstd0.5-inc1`; None for none.
        mixup: Mixup's alpha: each image is blended with another one; 0 for none.
        cutmix: CutMix's alpha: a part of each image is replaced by that of another one; 0 for none.
        smoothing: Share of the targets that is spread over all classes.
        erase: Probability that a random rectangle is erased.
        ema: Decay of a moving average of the weights, which is measured in their place; None for none.
        eval_crop: Share of the resized image that is measured, from its centre.
        balance: What is done about classes of few images: `none`, `sample` draws them as often as others, `weight`
            weighs their losses by the inverse of their counts.
    """

    norm: Literal["half", "imagenet"] = "half"
    new_parts: Annotated[float, Field(gt=0, le=1000)] = 1.0
    crop: Area = (0.35, 1.0)
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    augment: str | None = None
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    eval_crop: Share = 1.0
    balance: Literal["none", "sample", "weight"] = "none"

    @property
    def measured_share(self) -> float:
        """Share of a resized image that is measured."""
        return self.eval_crop

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.crop[0] > self.crop[1]:
            raise ValueError(f"crop must be the least and the greatest share of the area, got {list(self.crop)}")
        if self.augment is not None and not AUGMENTATION.fullmatch(self.augment):
            raise ValueError(
                "augment names one of timm's augmentations, such as rand-m9-mstd0.5-inc1, augmix-m5-w4-d2 or "
                f"original, got {self.augment!r}; leave it out for none"
            )
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise ValueError(
                f"mixup and cutmix pair the images of a step, got batch_size {self.batch_size}; make it even"
            )
        if self.short_side != 1:
            raise ValueError(f"short_side has no meaning for square images, got {self.short_side:g}; leave it out")
        return self
