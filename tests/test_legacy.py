"""Runs that an earlier version wrote (tests/legacy/README.md) open, report and resume with today's code."""

from __future__ import annotations

import hashlib
import tarfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from scipy.special import log_softmax

import biasvar
from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report.figures import FIGURES
from biasvar.report.page import open_runs, write_report
from biasvar.study import load_study, resolve_study
from biasvar.training.execute import run_study

LEGACY = Path(__file__).parent / "legacy"
DONE = ["ce", "ls", "kd", "partial", "wsl"]  # of the interrupted run
MEASURED_ANEW = ("W3", "W5", "W10")  # by revision 2 of the rules
DRAWN_SINCE = {"by_class.csv", "costs.csv", "methods.csv"}
LEFT_OUT_SINCE = {"published.csv"}  # numbers of other data and networks
ROUNDING = "3f997796"  # of `rounding()` where the runs were written


def unpacked(name: str, folder: Path, archive_name: str = "runs") -> Path:
    """A fresh copy of one of the runs, or of the tables of its report, in `folder`."""
    with tarfile.open(LEGACY / f"{archive_name}.tar.xz") as archive:
        inside = [member for member in archive.getmembers() if member.name.split("/")[0] == name]
        archive.extractall(folder, members=inside, filter="data")
    return folder / name


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    return unpacked("complete", tmp_path_factory.mktemp("legacy"))


def files(directory: Path) -> dict[str, Path]:
    """Every file but the manifest, which holds times and versions, and the study, whose keys become more."""
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name[0] != "."]
    other = ("manifest.json", "study.yaml")
    return {str(path.relative_to(directory)): path for path in paths if path.name not in other}


def rounding() -> str:
    """A fingerprint of how this processor, torch and numpy round: a small training of replicas in plain torch."""
    random = np.random.Generator(np.random.PCG64(0))
    x, first, second = (
        torch.tensor(random.standard_normal(shape), dtype=torch.float32)
        for shape in ((4, 7, 64), (4, 64, 10), (4, 10, 10))
    )
    labels = torch.arange(7)[None, :, None].expand(4, 7, 1)
    for _ in range(80):
        weights = [first.requires_grad_(), second.requires_grad_()]
        logits = torch.bmm(torch.relu(torch.bmm(x, weights[0])), weights[1])
        loss = -logits.log_softmax(-1).gather(-1, labels).mean()
        gradients = torch.autograd.grad(loss, weights)
        first, second = (w.detach() - 0.1 * g for w, g in zip(weights, gradients, strict=True))
    values = logits.detach().numpy().astype(np.float64)
    return hashlib.sha256(first.numpy().tobytes() + np.log(np.exp(values).sum(-1)).tobytes()).hexdigest()[:8]


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file, or the tensors of a safetensors file."""
    if path.suffix == ".safetensors":
        return safetensors.numpy.load_file(path)
    table = pq.read_table(path)
    flat = {
        name: column.combine_chunks().flatten() if pa.types.is_fixed_size_list(column.type) else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    found = {name: column.to_numpy(zero_copy_only=False) for name, column in flat.items()}
    if "predictions" in path.parts and "logits" in found:  # kept since in place of their log-probabilities
        logits = found.pop("logits").astype(np.float64).reshape(len(table), -1)
        found["mean_log_prob"] = np.where(found["count"][:, None] > 0, log_softmax(logits, axis=-1), 0.0).ravel()
    return found


def assert_same_values(ours: Path, theirs: Path) -> None:
    """Equal but for what another processor or another version of torch rounds differently in 80 steps of training."""
    new, old = arrays(ours), arrays(theirs)
    assert new.keys() >= old.keys(), ours
    for name, values in old.items():
        assert new[name].shape == values.shape, (ours, name)
        if values.dtype.kind == "f":
            np.testing.assert_allclose(new[name], values, rtol=1e-2, atol=1e-2, err_msg=f"{ours}: {name}")
        else:
            assert (new[name] == values).mean() > 0.95, (ours, name)


@pytest.mark.parametrize(("name", "status"), [("complete", "complete"), ("interrupted", "running")])
def test_a_run_of_an_earlier_version_opens(tmp_path, name, status):
    run = biasvar.open_run(unpacked(name, tmp_path))
    assert run.manifest["status"] == status
    assert run.arms[:5] == DONE
    for arm in DONE:
        rows = run.records(arm=arm, split="train", view="augmented", epochs=[20])
        assert len(rows) == 4 * 28
        assert rows["opposing"].notna().all()
        assert run.metrics.query("arm == @arm and split == 'test' and epoch == 20")["accuracy"].gt(0.2).all()
        assert run.predictions(arm).mean_log_probs.shape == (4, 24, 10)
        assert run.decomposition(arm).totals().bias.value > 0
    assert run.teacher("own").logits.shape == (4, 94, 10)
    assert len(run.tuning) == 5 * 2 * 2
    assert run.soft_label_names == ([] if status == "running" else sorted(run.study["soft_labels"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["complete", "interrupted"])
def test_a_run_of_an_earlier_version_gets_the_report_that_it_had(tmp_path, name):
    """The same effects, of claims that are measured as then; the same figures of the same rows, and what is new."""
    write_report(open_runs([unpacked(name, tmp_path / "run")]), tmp_path / "report", figures=list(FIGURES), formats=())
    here, before = tmp_path / "report", unpacked(name, tmp_path / "before", "reports")
    ours, theirs = (pd.read_csv(folder / "claims.csv").query("id not in @MEASURED_ANEW") for folder in (here, before))
    same = ["id", "claim", "regime", "arms", "effect", "threshold", "direction", "unit", "source"]
    pd.testing.assert_frame_equal(ours[same], theirs[same])
    drawn = sorted(path.name for path in (tmp_path / "report").glob("*.csv"))
    assert drawn == sorted({path.name for path in before.glob("*.csv")} - LEFT_OUT_SINCE | DRAWN_SINCE)
    for table in (name for name in drawn if name not in {"claims.csv", *DRAWN_SINCE}):
        ours, theirs = (pd.read_csv(folder / table) for folder in (tmp_path / "report", before))
        if table == "gradients.csv":  # its cells are of another grid since, and count the same samples
            cells, earlier = (frame.query("kind == 'bin'") for frame in (ours, theirs))
            keys = ["run", "arm", "epoch", "panel"]
            pd.testing.assert_series_equal(*(frame.groupby(keys)["count"].sum() for frame in (cells, earlier)))
            ours, theirs = (frame.query("kind == 'panel'").reset_index(drop=True) for frame in (ours, theirs))
        if table == "changes.csv":  # which has medians since
            ours = ours[ours["kind"] != "median"].reset_index(drop=True)
        for end, bound in (("low", 0.0), ("high", 1.0)):  # intervals of shares end there since
            if end in theirs and end in ours:
                cut = (ours[end] == bound) & (theirs[end] < bound if end == "low" else theirs[end] > bound)
                theirs.loc[cut, end] = bound
        pd.testing.assert_frame_equal(
            ours[list(theirs)], theirs, check_dtype=False, rtol=1e-9, atol=1e-12, obj=f"{table} of {name}"
        )


def test_a_complete_run_of_an_earlier_version_is_left_as_it_is(complete):
    before = {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in files(complete).items()}
    run = run_study(load_study(LEGACY / "study.yaml"), complete, device="cpu")
    assert run.manifest["status"] == "complete"
    assert before == {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in files(complete).items()}
    run_study(resolve_study(run.study), complete, device="cpu")  # the resolved study that the run itself holds


def test_another_study_than_the_earlier_versions_is_refused(complete):
    other = load_study(LEGACY / "study.yaml", overrides=["arms.kd.temperature=3"])
    with pytest.raises(RecordError, match="holds another run"):
        run_study(other, complete, device="cpu")


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> tuple[Run, set[str]]:
    """The interrupted run, gone on with by today's code, and the names of the files that were there before."""
    directory = unpacked("interrupted", tmp_path_factory.mktemp("resumed"))
    before = set(files(directory))
    return run_study(load_study(LEGACY / "study.yaml"), directory, device="cpu"), before


def test_an_interrupted_run_of_an_earlier_version_ends_with_the_same_files(resumed, complete):
    run, before = resumed
    assert run.manifest["status"] == "complete"
    ours, theirs = files(run.directory), files(complete)
    assert list(ours) == list(theirs)
    here = {"torch", "numpy", "pyarrow"}
    alike = all(version(name) == run.manifest["versions"][name] for name in here) and rounding() == ROUNDING
    for name, path in ours.items():
        kept = name in before and "arm=wsl_shuffled" not in name
        if kept or (alike and path.suffix != ".parquet"):
            assert path.read_bytes() == theirs[name].read_bytes(), name
        elif alike:  # Parquet files are packed in another way since
            new, old = arrays(path), arrays(theirs[name])
            assert new.keys() >= old.keys(), name
            for column, values in old.items():
                np.testing.assert_array_equal(new[column], values, err_msg=f"{name}: {column}")
        else:
            assert_same_values(path, theirs[name])


def test_the_manifest_of_a_resumed_run_says_what_the_uninterrupted_ones_did(resumed, complete):
    run, whole = resumed[0], biasvar.open_run(complete)
    assert run.arms == whole.arms
    for arm in run.arms:
        ours, theirs = run.arm(arm), whole.arm(arm)
        for key in ("label", "status", "loss", "role", "regime", "teacher", "temperature", "alpha", "learning_rate"):
            assert ours.get(key) == theirs[key], (arm, key)
        assert ours["weights_sha256"].keys() == theirs["weights_sha256"].keys()
    assert resolve_study(run.study).hash == resolve_study(whole.study).hash
