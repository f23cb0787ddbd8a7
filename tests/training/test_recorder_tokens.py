"""Tokens in the recorder: (B, T, C) logits, top-k teachers, ids that repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import biasvar
from biasvar import TopK, token_ids
from biasvar.training import recorder_terms

B, T, C, K, TAU = 4, 6, 11, 3, 2.0


@pytest.fixture
def text():
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, B, T, C, generator=generator)
    labels = torch.randint(0, C, (B, T), generator=generator)
    where = torch.rand(B, T, generator=generator) > 0.2
    return token_ids(torch.arange(B), T), student, teacher, labels.masked_fill(~where, -100), where


def top(teacher, k=K):
    values, indices = teacher.log_softmax(-1).topk(k, -1)
    return indices, values


def recorder(folder, **more):
    return biasvar.Recorder(folder, num_samples=B * T, num_classes=C, temperature=TAU, arm="kd", **more)


def test_tokens_are_rows(tmp_path, text):
    ids, student, teacher, labels, where = text
    with recorder(tmp_path / "tokens") as run:
        run.update(ids, student, labels, teacher, where=where)
    with recorder(tmp_path / "rows") as run:
        run.update(ids[where], student[where], labels[where], teacher[where])
    tokens, rows = (biasvar.open_run(tmp_path / name).records() for name in ("tokens", "rows"))
    assert len(tokens) == int(where.sum())
    assert tokens.equals(rows)


def test_replicas_of_tokens_train_together(tmp_path, text):
    ids, student, teacher, labels, where = text
    both = torch.stack([student, teacher])
    twice = {"labels": labels, "sample_ids": ids, "where": where}
    with recorder(tmp_path / "run", replica=[3, 5]) as run:
        run.update(student_logits=both, **{name: torch.stack([x, x]) for name, x in twice.items()})
    frame = biasvar.open_run(tmp_path / "run").records(columns=["replica", "sample_id", "student_loss"])
    truth = labels[where].unsqueeze(-1)
    for replica, logits in ((3, student), (5, teacher)):
        loss = -logits[where].log_softmax(-1).gather(-1, truth)[:, 0]
        found = frame[frame["replica"] == replica]["student_loss"]
        np.testing.assert_allclose(found, loss, rtol=1e-5)


@pytest.mark.parametrize("elements", [2**21, 3 * C])
def test_a_top_k_teacher_gives_the_terms_of_its_dense_form(tmp_path, text, monkeypatch, elements):
    monkeypatch.setattr(recorder_terms, "_ELEMENTS", elements)
    ids, student, teacher, labels, where = text
    first, second = TopK(*top(teacher[:2])), TopK(*top(teacher[2:], 2))  # other steps may keep fewer entries
    dense = torch.cat([first.dense(C), second.dense(C)])
    with recorder(tmp_path / "top", values="logits") as run:
        run.update(ids[:2], student[:2], labels[:2], first, where=where[:2])
        run.update(ids[2:], student[2:], labels[2:], second, where=where[2:])
    with recorder(tmp_path / "dense", values="logits") as run:
        run.update(ids, student, labels, dense, where=where)
    mine, theirs = (biasvar.open_run(tmp_path / name).records() for name in ("top", "dense"))
    for column in mine.columns[4:]:
        np.testing.assert_allclose(
            mine[column].to_numpy(dtype=float), theirs[column].to_numpy(dtype=float), rtol=1e-6, atol=1e-7
        )


def test_ids_that_repeat_in_a_sequence_are_refused_at_once(tmp_path, text):
    ids, student, teacher, labels, where = text
    of_sequences = torch.arange(B)[:, None].expand(B, T)
    run = recorder(tmp_path / "run", on_duplicate="first")
    with pytest.raises(ValueError, match=r"sequence 0 repeat 0: .* biasvar\.token_ids\(sequence_ids, T\) makes it"):
        run.update(of_sequences, student, labels, teacher, where=where)
    run.update(ids.masked_fill(~where, -1), student, labels, teacher, where=where)  # padding may share an id
    assert run.end_epoch()["n"].tolist() == [int(where.sum())]


def test_bad_input_is_named_with_its_cure(tmp_path, text):
    ids, student, teacher, labels, where = text
    indices, values = top(teacher)
    run = recorder(tmp_path / "run")
    with pytest.raises(ValueError, match=r"sample_ids has shape \(4,\) .* of tokens give ids \(4, 6\), as biasvar"):
        run.update(ids[:, 0], student, labels)
    with pytest.raises(ValueError, match=r"sample_ids has shape \(1, 4, 6\), expected \(B,\) or, of tokens, \(B, T\)"):
        run.update(ids[None], student, labels)
    with pytest.raises(ValueError, match=r"teacher_logits has rows of shape \(1, 6\), expected \(4, 6\)"):
        run.update(ids, student, labels, TopK(indices[:1], values[:1]))
    with pytest.raises(ValueError, match="teacher_logits: indices must lie in 0"):
        run.update(ids, student, labels, TopK(indices + C, values))
    run.update(ids, student, labels, TopK(indices, values), where=where)
    with pytest.raises(ValueError, match="teacher_logits"):
        run.update(ids, student, labels, teacher, where=where)
    run.update(ids, student, labels, TopK(indices, values), where=where)
    with pytest.raises(ValueError, match="more than once"):
        run.end_epoch()


def test_a_tail_of_0_holds_where_labels_are_listed(tmp_path, text):
    ids, student, teacher, labels, _ = text
    indices, values = top(teacher)
    run = recorder(tmp_path / "run")
    run.update(ids, student, labels.clamp(0), TopK(indices, values, 0.0))
    with pytest.raises(ValueError, match="tail 0 gives labels that it does not list no probability"):
        run.end_epoch()
    run.update(ids, student, indices[..., 0], TopK(indices, values, 0.0))
    assert run.end_epoch()["n"].tolist() == [B * T]


def test_what_no_constructor_saw_is_found_when_the_epoch_ends(tmp_path, text, monkeypatch):
    ids, student, teacher, labels, where = text
    monkeypatch.setattr("biasvar.analysis.soft_labels.top_k_teacher.on_cpu", lambda x: False)  # as an accelerator
    indices, _ = top(teacher)
    run = recorder(tmp_path / "run")
    run.update(ids, student, labels, TopK(indices, torch.ones(B, T, K)), where=where)
    with pytest.raises(ValueError, match="a top-k teacher lists different classes a row, whose mass is 1 at most"):
        run.end_epoch()


def test_samples_that_only_a_later_epoch_holds_are_known(tmp_path, text):
    ids, student, _, labels, _ = text
    with recorder(tmp_path / "run") as run:
        for rows in (slice(0, 1), slice(1, 3), slice(0, 1)):
            run.update(ids[rows], student[rows], labels[rows].clamp(0))
            run.end_epoch()
    opened = biasvar.open_run(tmp_path / "run")
    assert opened.samples["sample_id"].tolist() == ids[:3].flatten().tolist()
    assert opened.samples["label"].tolist() == labels[:3].clamp(0).flatten().tolist()
