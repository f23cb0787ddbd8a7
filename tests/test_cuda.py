"""On a CUDA device: the same numbers as on the CPU, and no step that waits for the device."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import biasvar
from biasvar.losses import (
    BadTeacherLoss,
    CandidateSetLoss,
    CrossEntropyLoss,
    DistillationLoss,
    LabelSmoothingLoss,
    MaskedDistillationLoss,
    ScoreLoss,
    SoftLabelLoss,
    SquaredErrorLoss,
    WeightedSoftLabelLoss,
)
from biasvar.study import resolve_study
from biasvar.training.execute import run_study

pytestmark = pytest.mark.cuda
N, C = 400, 7
WITH_TEACHER = {"temperature": 4.0, "alpha": 2.25, "reduction": "none"}


@pytest.fixture
def logits():
    keys = torch.Generator().manual_seed(1)
    student, teacher = 5 * torch.randn(2, N, C, generator=keys)
    return student, teacher, torch.randint(0, C, (N,), generator=keys)


@pytest.fixture
def never_waits():
    """Raises where the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


LOSSES = {
    "cross entropy": lambda s, t, y: CrossEntropyLoss(reduction="none")(s, y),
    "squared error": lambda s, t, y: SquaredErrorLoss(reduction="none")(s, y),
    "label smoothing": lambda s, t, y: LabelSmoothingLoss(smoothing=0.1, reduction="none")(s, y),
    "distillation": lambda s, t, y: DistillationLoss(**WITH_TEACHER)(s, t, y),
    "weighted soft label": lambda s, t, y: WeightedSoftLabelLoss(**WITH_TEACHER)(s, t, y),
    "masked": lambda s, t, y: MaskedDistillationLoss(**WITH_TEACHER, keep="other")(s, t, y),
    "soft label": lambda s, t, y: SoftLabelLoss(reduction="none")(s, t.softmax(-1)),
    "scores": lambda s, t, y: ScoreLoss(reduction="none")(s, t),
    "candidates": lambda s, t, y: CandidateSetLoss(reduction="none")(s, t > 0),
    "bad teacher": lambda s, t, y: BadTeacherLoss(
        k=3, punishment=1.0, compensation=1.0, rivals=1.0, reduction="none"
    )(s, y, torch.stack([(y + 1) % C, (y + 2) % C], -1)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_every_loss_and_its_gradient_are_the_cpus_and_nothing_waits(logits, name, never_waits):
    torch.cuda.set_sync_debug_mode("default")
    student, teacher, labels = logits
    ours = student.clone().requires_grad_()
    theirs = student.cuda().requires_grad_()
    on_device = teacher.cuda(), labels.cuda()
    expected = LOSSES[name](ours, teacher, labels)
    LOSSES[name](theirs, *on_device)  # kernels are loaded, and constants put, at the first call
    torch.cuda.set_sync_debug_mode("error")
    found = LOSSES[name](theirs, *on_device)
    found.sum().backward()
    torch.cuda.set_sync_debug_mode("default")
    expected.sum().backward()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs.grad.cpu(), ours.grad, rtol=1e-5, atol=1e-5)


def test_decomposition_and_indicators_of_tensors_on_the_device(logits):
    student, teacher, labels = (value.double() if value.is_floating_point() else value for value in logits)
    runs = torch.stack([student, teacher, student - teacher])
    ours, theirs = biasvar.decompose(runs, labels), biasvar.decompose(runs.cuda(), labels.cuda())
    for name in ("bias", "variance"):
        np.testing.assert_allclose(
            np.asarray(getattr(theirs, name).cpu()), np.asarray(getattr(ours, name)), rtol=1e-12, atol=1e-12
        )
    cpu = biasvar.tradeoff_terms(student, teacher, labels, temperature=4.0)
    device = biasvar.tradeoff_terms(student.cuda(), teacher.cuda(), labels.cuda(), temperature=4.0)
    for name in ("bias_gradient", "variance_gradient", "bias_norm", "variance_norm"):
        torch.testing.assert_close(getattr(device, name).cpu(), getattr(cpu, name), rtol=1e-12, atol=1e-12)
    weights = biasvar.wsl_weights(student.cuda(), teacher.cuda(), labels.cuda())
    torch.testing.assert_close(weights.cpu(), biasvar.wsl_weights(student, teacher, labels), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_recorder_writes_the_same_file_and_update_never_waits(logits, tmp_path, dtype):
    student, teacher, labels = logits
    student, teacher = student.to(dtype), teacher.to(dtype)
    frames = []
    for name in ("cpu", "cuda"):
        with biasvar.Recorder(tmp_path / name, num_samples=N, num_classes=C, temperature=4.0) as recorder:
            values = [value.to(name) for value in (torch.arange(N), student, labels, teacher)]
            pieces = list(zip(*(value.split(64) for value in values), strict=True))
            for i, piece in enumerate(pieces):
                if name == "cuda" and i == 1:
                    torch.cuda.set_sync_debug_mode("error")
                recorder.update(*piece)
            torch.cuda.set_sync_debug_mode("default")
        frames.append(biasvar.open_run(tmp_path / name).records().sort_values("sample_id", ignore_index=True))
    for column in frames[0].select_dtypes("number"):
        ours, theirs = (frame[column].to_numpy(np.float64) for frame in frames)
        np.testing.assert_allclose(theirs, ours, rtol=2.4e-7, atol=1e-30, err_msg=str(column))
    assert frames[0]["opposing"].equals(frames[1]["opposing"])


def test_a_study_trains_resumes_and_reads_like_the_cpus(tiny_study, tmp_path):
    """The device's training, cut off after half its epochs and resumed, and the CPU's: the same samples and totals."""
    runs = {name: run_study(resolve_study(tiny_study), tmp_path / name, device=name) for name in ("cpu", "cuda")}
    again = resolve_study(tiny_study)
    from biasvar.training.students import _Group

    save, count = _Group._save, [0]

    def stop_after_saving(group, net, epoch):
        save(group, net, epoch)
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Group, "_save", stop_after_saving)
        with pytest.raises(KeyboardInterrupt):
            run_study(again, tmp_path / "resumed", device="cuda")
    runs["resumed"] = run_study(again, tmp_path / "resumed", device="cuda")
    for arm in runs["cpu"].arms:
        ours = runs["cpu"].decomposition(arm).totals()
        for name in ("cuda", "resumed"):
            theirs = runs[name].decomposition(arm).totals()
            assert theirs.bias.value == pytest.approx(ours.bias.value, abs=2e-3)
            assert theirs.variance.value == pytest.approx(ours.variance.value, abs=2e-3)
    frames = [
        runs[name].records(["replica", "sample_id", "student_prob"], arm="kd").sort_values(
            ["split", "view", "epoch", "replica", "sample_id"], ignore_index=True
        )
        for name in ("cuda", "resumed")
    ]  # fmt: skip
    np.testing.assert_allclose(frames[0]["student_prob"], frames[1]["student_prob"], rtol=0, atol=1e-3)


def test_a_convolutional_network_in_bf16_learns(tiny_study, tmp_path):
    """Mixed precision: logits come back as float32, are finite and better than chance."""
    study = copy.deepcopy(tiny_study)
    study |= {"backend": "sequential", "student": {"model": "convnet"}, "replicas": 2}
    study["data"] |= {"crop": 1}
    study["schedule"] |= {"precision": "bf16", "epochs": 6}
    study["arms"] = {name: study["arms"][name] for name in ("ce", "wsl")}
    study["teachers"] = {"main": study["teachers"]["main"]}
    run = run_study(resolve_study(study), tmp_path / "run", device="cuda")
    last = run.metrics.query("split == 'test' and epoch == 6")
    assert (last["accuracy"] > 0.3).all()
    assert np.isfinite(run.records(["student_loss"])["student_loss"]).all()
