"""Metrics of a classifier, against scikit-learn's and against the formula by hand."""

import numpy as np
import pytest

from piip_search.tasks.classification.facts import CLASSIFICATION_METRICS
from piip_workers.tasks.classification.metrics import calibration_error, confusion, metrics_of, recalls, top_share

RANDOM = np.random.default_rng(0)
SCORES_NK = RANDOM.normal(size=(200, 8))
LABELS_N = np.where(RANDOM.random(200) < 0.6, SCORES_NK.argmax(1), RANDOM.integers(0, 7, 200))
"""The last class has hardly any image."""


def test_they_are_scikit_learns() -> None:
    from sklearn import metrics

    found, answers = metrics_of(SCORES_NK, LABELS_N), SCORES_NK.argmax(1)
    assert set(found) == {metric.name for metric in CLASSIFICATION_METRICS}
    assert found["top1"] == pytest.approx(metrics.accuracy_score(LABELS_N, answers))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(LABELS_N, answers))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(LABELS_N, answers, average="macro"))
    assert found["top5"] == pytest.approx(metrics.top_k_accuracy_score(LABELS_N, SCORES_NK, k=5, labels=range(8)))
    assert (confusion(answers, LABELS_N, 8) == metrics.confusion_matrix(LABELS_N, answers, labels=range(8))).all()


def test_the_calibration_error_is_that_of_the_paper() -> None:
    # Two images of confidence 0.9, one right; two of 0.6, both right: |1 - 1.8| / 4 + |2 - 1.2| / 4.
    log = np.log
    scores = np.array([[log(9), 0], [log(9), 0], [log(1.5), 0], [log(1.5), 0]])
    assert calibration_error(scores, np.array([0, 1, 0, 0])) == pytest.approx(0.2 + 0.2)
    assert calibration_error(np.array([[40.0, 0.0]]), np.array([0])) == pytest.approx(0, abs=1e-12)


def test_a_class_without_images_counts_nowhere() -> None:
    counts = confusion(np.array([0, 0, 1]), np.array([0, 0, 1]), 3)
    assert np.isnan(recalls(counts)[2])
    found = metrics_of(np.eye(3)[[0, 0, 1]], np.array([0, 0, 1]))
    assert (found["balanced_accuracy"], found["macro_f1"], found["top1"]) == (1, 1, 1)


def test_top5_is_left_out_where_it_is_one() -> None:
    assert "top5" not in metrics_of(RANDOM.normal(size=(6, 5)), np.arange(6) % 5)


def test_ties_go_to_the_first_class() -> None:
    scores = np.zeros((3, 8))
    assert top_share(scores, np.array([0, 4, 5]), 5) == pytest.approx(2 / 3)
    assert metrics_of(scores, np.array([0, 1, 2]))["top1"] == pytest.approx(1 / 3)
