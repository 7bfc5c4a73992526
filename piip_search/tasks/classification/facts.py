"""The metrics of the task classification."""

from piip_search.tasks.task import Metric

FEWEST_OF_TOP5 = 6
"""Fewest classes for which the metric top5 tells designs apart."""

CLASSIFICATION_METRICS = (
    Metric("top1", "top-1 accuracy", "Share of the images whose first class is the true one.", column="top-1"),
    Metric("top5", "top-5 accuracy", "Share of the images whose first five classes have the true one."),
    Metric("balanced_accuracy", "balanced accuracy", "Share of the images that are right, as a mean over classes."),
    Metric("macro_f1", "macro F1", "Harmonic mean of precision and recall, as a mean over classes."),
    Metric(
        "calibration_error",
        "calibration error",
        "Mean distance of confidence and accuracy over fifteen ranges of confidence, by their images.",
        direction="lower",
    ),
)
"""Metrics of a classifier, the default one first."""
