"""At chance is one rule, above chance and not below; rows of a teacher that do not belong are named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import binom

import biasvar
from biasvar.analysis.statistics.chance import chance_limit, out_of_order
from biasvar.report.page import open_runs
from biasvar.report.text import description
from biasvar.training.evaluation import failures


@pytest.mark.parametrize(("n", "classes"), [(100, 2), (200, 10), (5000, 10), (10_000, 100)])
def test_the_limit_lies_three_standard_errors_above_chance(n, classes):
    limit = chance_limit(n, classes)
    assert limit > 1 / classes
    assert limit == pytest.approx(1 / classes + 3 * binom(n, 1 / classes).std() / n)
    # Of networks that guess, hardly any passes; those halfway above the limit do.
    assert binom(n, 1 / classes).sf(np.floor(limit * n)) < 0.005
    guess, above = 1 / classes, limit + 0.01
    below = 1 / classes - 2 * (limit - 1 / classes)
    told = failures(np.array([guess, limit, above, below, 0.0]), np.array([True] * 5), n, classes)
    assert told == ["at chance", "at chance", "", "at chance", "at chance"]
    assert failures(np.array([0.9]), np.array([False]), n, classes) == ["not finite"]


def test_counts_that_make_no_limit_are_refused():
    for n, classes in ((0, 10), (10, 1)):
        with pytest.raises(ValueError, match="n must be at least 1 and num_classes 2"):
            chance_limit(n, classes)


@pytest.mark.parametrize(
    ("teacher", "student", "odd"),
    [(0.1, 0.8, True), (0.1, 0.12, False), (0.9, 0.8, False), (0.9, 0.1, False), (0.0, 0.9, True)],
)
def test_a_teacher_is_odd_only_where_the_student_knows_more(teacher, student, odd):
    assert (out_of_order(teacher, student, 500, 10) is not None) == odd


def recorded(directory, order, *, learned=True):
    labels = torch.arange(600) % 10
    random = torch.Generator().manual_seed(0)
    teacher = 5 * torch.eye(10)[labels] + torch.randn(600, 10, generator=random)
    student = (3.0 if learned else 0.0) * torch.eye(10)[labels] + torch.randn(600, 10, generator=random)
    recorder = biasvar.Recorder(directory, num_samples=600, num_classes=10, temperature=2.0, arm="kd")
    summaries = []
    for _ in range(2):
        recorder.update(torch.arange(600), student, labels, teacher[order])
        summaries.append(recorder.end_epoch())
    recorder.close()
    return summaries


def test_a_teacher_cached_in_another_order_is_named_everywhere(tmp_path):
    with pytest.warns(
        UserWarning, match=r"arm 'kd', epoch 1: .*at chance.*cached in another order.*sample_ids"
    ) as said:
        summaries = recorded(tmp_path / "run", torch.randperm(600, generator=torch.Generator().manual_seed(1)))
    assert len(said) == 1
    assert all("cached in another order" in summary["warning"][0] for summary in summaries)
    run = open_runs([tmp_path / "run"])[0]
    assert len(run.arm("kd")["warnings"]) == 1
    assert any("Arm kd, epoch 1: the teacher's accuracy on 600 rows" in line for line in description.warnings(run))


def test_a_teacher_in_order_or_a_student_that_knows_nothing_is_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summaries = recorded(tmp_path / "order", torch.arange(600))
        summaries += recorded(tmp_path / "new", torch.arange(599, -1, -1), learned=False)
    assert not any("warning" in summary for summary in summaries)
    assert description.warnings(open_runs([tmp_path / "order"])[0]) == []
