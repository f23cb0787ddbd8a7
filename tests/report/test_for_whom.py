"""Changes by kind of row: kinds, means and errors from single replicas by loops, and no effect where there is none."""

import numpy as np
import pytest

from biasvar.records import Run, RunWriter, open_run
from biasvar.report import style
from biasvar.report.figures.for_whom import FIGURE
from biasvar.report.statistics.kinds_of_rows import KINDS, kind_changes
from tests.report.made import CLASSES, corrected_terms, grouped, log_softmax, record_columns

REPLICAS = 8


def write(directory, log_probs, labels, *, copies=1, teacher_predictions=None, flags=None) -> Run:
    """A run of arms ce and kd on test rows; kd learns from copies of a teacher, ce is recorded against them."""
    manifest = {
        "kind": "study", "study_hash": "made", "num_classes": CLASSES, "name": "made", "replicas": REPLICAS,
        "teachers": {"main": {"copies": copies}}, "reference_teacher": "main",
    }  # fmt: skip
    writer = RunWriter(directory, manifest=manifest)
    ids = np.arange(len(labels))
    writer.samples(ids, labels, ["test"] * len(labels), [None] * len(labels))
    columns = record_columns(np.random.default_rng(0), labels, ids, log_probs)
    for name, values in (("teacher_prediction", teacher_predictions), ("opposing", flags)):
        columns[name] = columns[name] if values is None else values.astype(columns[name].dtype)
    rows = np.arange(len(labels))
    for arm, loss, teacher in (("ce", "cross_entropy", None), ("kd", "distillation", "main")):
        writer.update_arm(
            arm, loss=loss, role="main", regime="none", replicas=REPLICAS, label=arm.upper(), teacher=teacher
        )
        everyone = np.ones((REPLICAS, len(labels)), dtype=bool)
        writer.predictions(arm, "test", "all", 7, 0, ids, *grouped(log_probs[arm], everyone, REPLICAS))
        own = {name: values.ravel() for name, values in columns.items()}
        own["student_loss"] = -log_probs[arm][:, rows, labels].ravel()
        writer.record(arm, "test", "clean", 7, 0, own)
    return open_run(directory)


def made(rows=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, rows)
    common = np.eye(CLASSES)[labels] * rng.uniform(-1, 3, (rows, 1)) + rng.normal(size=(rows, CLASSES))
    noise = rng.normal(size=(2, REPLICAS, rows, CLASSES))
    log_probs = {"ce": log_softmax(common + noise[0]), "kd": log_softmax(0.7 * common + 0.5 * noise[1])}
    teachers = np.where(rng.random((4, rows)) < rng.choice([0.97, 0.5, 0.03], rows), labels, (labels + 1) % CLASSES)
    return log_probs, labels, teachers, rng.random((REPLICAS, rows)) < rng.random(rows)


def plug_in(log_probs, label):
    """Bias and variance of one row's replicas (R, C), as they are."""
    geometric = np.exp(log_probs.mean(axis=0))
    mean = geometric / geometric.sum()
    variance = np.mean([np.sum(mean * (np.log(mean) - one)) for one in log_probs])
    return np.array([-log_probs.mean(axis=0)[label] - variance, variance])


def jackknifed(log_probs, label, copy):
    """Bias and variance of one row with what order 1/R takes put back, copies of a teacher left out one at a time."""
    names, whole = sorted(set(copy)), plug_in(log_probs, label)
    raised = len(names) * whole[1]
    for name in names:
        raised -= np.mean(copy != name) * plug_in(log_probs[copy != name], label)[1]
    return np.array([whole.sum() - raised, raised])


def kinds_by_hand(data, question, told_by, everyone, copies):
    log_probs, labels, teachers, flags = data
    if question == "difficulty":
        losses = [np.mean([-log_probs["ce"][r, i, label] for r in told_by]) for i, label in enumerate(labels)]
        place = {row: rank for rank, row in enumerate(sorted(range(len(labels)), key=lambda row: losses[row]))}
        return [3 * place[row] // len(labels) for row in range(len(labels))]
    if question == "regularization samples":
        return [int(sum(flags[r, i] for r in told_by) > len(told_by) / 2) for i in range(len(labels))]
    right = [[teachers[r % copies][i] == label for r in everyone] for i, label in enumerate(labels)]
    return [0 if all(one) else 1 if any(one) else 2 for one in right]


def by_hand(data, question, halves, copies, *, by_copy):
    """(kinds, 2) means of the changes over both halves, and what each row adds to them (N, kinds, 2)."""
    log_probs, labels = data[:2]
    count = len(KINDS[question])
    means, adds = np.zeros((2, count, 2)), np.zeros((len(labels), count, 2))
    for h, (own, other) in enumerate((halves, halves[::-1])):
        kinds = kinds_by_hand(data, question, other, [*own, *other], copies)
        changes = []
        for i, label in enumerate(labels):
            both = [
                jackknifed(log_probs[arm][own, i], label, np.array(own) % copies)
                if by_copy
                else np.array(corrected_terms(log_probs[arm][own, i], label))
                for arm in ("kd", "ce")
            ]
            changes.append(both[0] - both[1])
        for k in range(count):
            rows = [i for i in range(len(labels)) if kinds[i] == k]
            means[h, k] = np.mean([changes[i] for i in rows], axis=0)
            for i in rows:
                adds[i, k] += (changes[i] - means[h, k]) / len(rows) / 2
    return means.mean(axis=0), adds


@pytest.mark.parametrize("copies", [1, 4])
def test_every_number_is_that_of_loops_over_single_replicas(tmp_path, copies):
    data = made()
    log_probs, labels, teachers, flags = data
    seen = np.array([teachers[r % copies] for r in range(REPLICAS)])
    run = write(tmp_path / "run", log_probs, labels, copies=copies, teacher_predictions=seen, flags=flags)
    found = {(one.question, one.kind, one.term): one for one in kind_changes(run, "kd", "ce")}
    # In turn, so that each copy of four has one replica in each half.
    halves = [[0, 2, 4, 6], [1, 3, 5, 7]] if copies == 1 else [[0, 2, 5, 7], [1, 3, 4, 6]]
    asked = [name for name in KINDS if name != "reference teacher" or copies > 1]
    for question in asked:
        whole, adds = by_hand(data, question, halves, copies, by_copy=copies > 1)
        squares = 0.0
        for h in (0, 1):
            deleted = []
            for gone in halves[h]:
                kept = [[r for r in half if r != gone] for half in halves]
                deleted.append(by_hand(data, question, kept, copies, by_copy=False)[0])
            squares += 3 / 4 * ((np.array(deleted) - np.mean(deleted, axis=0)) ** 2).sum(axis=0)
        over_teachers = None
        if copies > 1:
            left = [[[r for r in half if r % copies != t] for half in halves] for t in range(copies)]
            deleted = np.array([by_hand(data, question, kept, copies, by_copy=True)[0] for kept in left])
            over_teachers = np.sqrt(3 / 4 * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
        for k, kind in enumerate(KINDS[question]):
            for j, term in enumerate(("bias", "variance")):
                one = found[question, kind, term]
                assert one.crossed.estimate == pytest.approx(whole[k, j])
                assert one.interval.stderr == pytest.approx(np.sqrt(squares[k, j]))
                assert (one.interval.n, one.df) == (REPLICAS, REPLICAS - 2)
                used = adds[np.any(adds[:, k] != 0, axis=1), k, j]
                over_rows = np.sqrt(np.sum(used**2) * len(used) / (len(used) - 1))
                assert one.crossed.components["rows"].stderr == pytest.approx(over_rows)
                drawn = one.interval.stderr if over_teachers is None else over_teachers[k, j]
                assert one.crossed.stderr == pytest.approx(np.hypot(drawn, over_rows))
        first, last = (found[question, KINDS[question][end], "bias"].crossed.estimate for end in (0, -1))
        name = f"{KINDS[question][-1]} less {KINDS[question][0]}"
        assert found[question, name, "bias"].crossed.estimate == pytest.approx(last - first)
    assert ("reference teacher", "some copies wrong", "bias") in found or copies == 1


def test_no_effect_shows_none_though_rows_are_sorted_by_chance(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, CLASSES, 3000)
    # All rows are alike: which are hard for four students is chance alone.
    log_probs = {arm: log_softmax(1.5 * rng.normal(size=(REPLICAS, len(labels), CLASSES))) for arm in ("ce", "kd")}
    flags = log_probs["ce"][:, np.arange(len(labels)), labels] > -0.7  # as the true flag, of the same students
    run = write(tmp_path / "run", log_probs, labels, flags=flags)
    found = {(one.kind, one.term): one for one in kind_changes(run, "kd", "ce")}
    assert {"easy", "hard", "hard less easy", "other", "regularization"} <= {kind for kind, _ in found}
    for one in found.values():
        assert abs(one.crossed.estimate) < 3 * one.crossed.stderr
    # Sorted and measured on the same students, the hard rows seem to be helped by an arm that does nothing.
    losses = -log_probs["ce"][:, np.arange(len(labels)), labels].mean(axis=0)
    hard = np.argsort(losses)[-1000:]
    seeming = np.mean([
        corrected_terms(log_probs["kd"][:, i], labels[i])[0] - corrected_terms(log_probs["ce"][:, i], labels[i])[0]
        for i in hard
    ])  # fmt: skip
    assert seeming < -5 * found["hard", "bias"].crossed.stderr


def test_an_effect_on_one_kind_is_found_there(tmp_path):
    log_probs, labels, _, _ = made(rows=600, seed=5)
    mean = log_probs["ce"].mean(axis=0)[np.arange(600), labels]
    hard = mean < np.quantile(mean, 1 / 3)
    better = log_probs["ce"] + np.where(hard[:, None], 1.0, 0.0) * np.eye(CLASSES)[labels]
    run = write(tmp_path / "run", {"ce": log_probs["ce"], "kd": log_softmax(better)}, labels)
    found = {(one.kind, one.term): one.crossed for one in kind_changes(run, "kd", "ce")}
    assert found["hard", "bias"].interval().high < -0.3
    assert abs(found["easy", "bias"].estimate) < 0.05
    assert found["hard less easy", "bias"].interval().high < -0.3


def test_few_replicas_and_few_rows_of_a_kind_have_no_number(tmp_path):
    log_probs, labels, _, flags = made()
    few = np.zeros_like(flags)
    few[:, :5] = True
    run = write(tmp_path / "run", log_probs, labels, flags=few)
    questions = {(one.question, one.kind) for one in kind_changes(run, "kd", "ce")}
    assert ("regularization samples", "other") in questions
    assert ("regularization samples", "regularization") not in questions
    assert ("difficulty", "hard") in questions


def test_the_picture_has_a_column_for_each_question_and_says_its_rows(tmp_path):
    log_probs, labels, teachers, flags = made()
    seen = np.array([teachers[r % 4] for r in range(REPLICAS)])
    run = write(tmp_path / "run", log_probs, labels, copies=4, teacher_predictions=seen, flags=flags)
    frame = FIGURE.collect([run])
    assert set(frame.loc[frame["difference"], "kind"]) == {
        "hard less easy", "regularization less other", "wrong less right"
    }  # fmt: skip
    with style.context():
        drawing = FIGURE.draw(frame)
    panels = drawing.axes
    assert [ax.get_title("left") for ax in panels[:3]] == ["Difficulty", "Regularization", "Teacher"]
    assert [ax.get_xlabel() for ax in panels[::3]] == ["change of bias (nats)", "change of variance (nats)"]
    said = FIGURE.caption(frame, [run])
    assert "nothing regresses to the mean" in said
    assert "4 copies of the teacher" in said


def test_the_picture_says_how_many_arms_it_leaves_out(tmp_path):
    log_probs, labels, _, _ = made()
    frame = FIGURE.collect([write(tmp_path / "run", log_probs, labels)])
    assert set(frame["compared"]) == {1}
    left = "1 of 3 arms, the main ones first; others: biasvar.plots.for_whom(run, arms=[...])"
    for compared, said in ((1, ""), (3, left)):
        shown = frame.assign(compared=compared)
        shown.attrs = frame.attrs
        with style.context():
            assert FIGURE.draw(shown).get_suptitle() == said
