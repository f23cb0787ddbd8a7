"""The samples of one's own runs: the table, its lists on the page, and the figures of terms and of the data map."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from biasvar import Recorder
from biasvar.analysis import calibration_error
from biasvar.records import Run, import_predictions, open_run
from biasvar.report import style
from biasvar.report.__main__ import main
from biasvar.report.figures import load
from biasvar.report.marks import cloud, roots
from biasvar.report.page import write_report
from biasvar.report.samples import write_samples
from biasvar.report.statistics import own_samples
from biasvar.report.statistics.own_samples import Place
from biasvar.report.statistics.strongest import LISTED, Strongest

N, C, R = 60, 4, 3
FIGURES = ("term_histograms", "bias_against_variance", "data_map", "reliability")


@pytest.fixture(scope="module")
def logits() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    labels = random.integers(0, C, N)
    return random.normal(size=(R, N, C)) + 1.5 * np.eye(C)[labels], labels


@pytest.fixture(scope="module")
def run(logits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two arms of three recorded replicas of four epochs, with a teacher; test rows have predictions."""
    import biasvar

    directory = tmp_path_factory.mktemp("own") / "mine"
    values, labels = logits
    truth, ids = torch.from_numpy(labels), torch.arange(N)
    teacher = torch.from_numpy(3.3 * np.eye(C)[(labels + (np.arange(N) % 5 == 0)) % C] - 1.0)
    for arm, size in (("plain", 1.0), ("sharp", 2.0)):
        for r in range(R):
            given = {"num_samples": N, "num_classes": C, "temperature": 2.0, "arm": arm, "replica": r}
            with (
                biasvar.Recorder(directory, **given) as train,
                biasvar.Recorder(directory, **given, split="test", view="clean", keep_predictions="last") as test,
            ):
                for epoch in range(1, 5):
                    z = torch.from_numpy(size * epoch / 4 * values[r])
                    for recorder in (train, test):
                        recorder.update(ids, z, truth, teacher)
                        recorder.end_epoch()
    return open_run(directory)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def of_truth(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return softmax(z)[..., np.arange(N), labels]


def test_the_table_holds_what_the_definitions_say(run: Run, logits: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = logits
    table = pd.concat(own_samples.tables(run, "sharp"))
    terms = run.decomposition("sharp").corrected()
    assert table["sample_id"].tolist() == list(range(N))
    assert table["true_class"].tolist() == labels.tolist()
    for name in ("bias", "variance", "bias_stderr", "variance_stderr"):
        np.testing.assert_allclose(table[name], getattr(terms, name), rtol=1e-12)
    probability = of_truth(2 * values, labels)
    np.testing.assert_allclose(table["confidence"], probability.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table["variability"], probability.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["accuracy"], (values.argmax(-1) == labels).mean(axis=0))
    record = run.records(["sample_id", "opposing", "wsl_weight"], arm="sharp", split="test", view="clean")
    assert len(record) == 4 * R * N  # all epochs and replicas
    means = record[["sample_id", "opposing", "wsl_weight"]].astype(float).groupby("sample_id").mean()
    np.testing.assert_allclose(table["flag_share"], means["opposing"])
    np.testing.assert_allclose(table["weight"], means["wsl_weight"], rtol=1e-6)
    assert table[["split", "over", "replicas"]].drop_duplicates().to_numpy().tolist() == [["test", "replicas", R]]


def test_a_map_over_epochs_is_each_trainings_own(run: Run, logits: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = logits
    found = own_samples.over_epochs(run, "plain", Place("train", "augmented"))
    assert found is not None
    by_epoch = np.stack([of_truth(epoch / 4 * values, labels) for epoch in range(1, 5)])  # (E, R, N)
    np.testing.assert_allclose(found.confidence, by_epoch.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.variability, by_epoch.std(axis=0).mean(axis=0), atol=1e-6)
    assert (found.n_replicas, found.n_epochs) == (R, 4)


def test_few_replicas_at_a_time_make_the_same_map(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("train", "augmented")
    whole = own_samples.over_epochs(run, "plain", place)
    monkeypatch.setattr(own_samples, "_TOGETHER", N)  # one replica
    own_samples.over_epochs.cache_clear()
    parts = own_samples.over_epochs(run, "plain", place)
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole.variability, parts.variability)


def test_the_file_is_the_same_by_parts_and_the_lists_are_its_extremes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    blocks = write_samples(tmp_path / "whole", [run])
    parts = own_samples.tables
    monkeypatch.setattr(own_samples, "tables", lambda run, arm, place: parts(run, arm, rows=7, place=place))
    assert write_samples(tmp_path / "parts", [run]) == blocks
    assert (tmp_path / "whole/samples.csv").read_bytes() == (tmp_path / "parts/samples.csv").read_bytes()
    table = pd.read_csv(tmp_path / "whole/samples.csv")
    assert table.groupby(["arm", "split"]).size().to_dict() == {
        (arm, split): N for arm in ("plain", "sharp") for split in ("test", "train")
    }
    titles = ["plain", "plain, training rows", "sharp", "sharp, training rows"]
    assert [block["title"] for block in blocks] == titles
    training = table[(table["arm"] == "sharp") & (table["split"] == "train")]
    assert training["flag_share"].notna().all()
    assert training["bias"].isna().all()
    assert blocks[2]["conditions"] == f"n = {N} test samples; {R} replicas."
    mine = table[(table["arm"] == "sharp") & (table["split"] == "test")]
    lists = {one["title"]: one["rows"] for one in blocks[2]["lists"]}
    for title, column in (("Most bias", "bias"), ("Most variance", "variance")):
        wanted = mine.nlargest(LISTED, column)["sample_id"].astype(str).tolist()
        assert [row[0] for row in lists[title]] == wanted
    flagged = next(rows for title, rows in lists.items() if title.startswith("Most often"))
    order = mine[mine["flag_share"] > 0].sort_values(
        ["flag_share", "weight", "sample_id"], ascending=[False, True, True]
    )
    assert [row[0] for row in flagged] == order["sample_id"].head(LISTED).astype(str).tolist()


def test_a_large_run_keeps_a_few_numbers_a_sample(tmp_path: Path) -> None:
    n, classes = 40_000, 3
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, n)
    made = import_predictions(
        [random.normal(size=(n, classes)) for _ in range(2)], labels, directory=tmp_path / "large"
    )
    own_samples.main_course(made, "predictions", Place("test", "clean"))
    own_samples.terms_at(made, "predictions", Place("test", "clean"))
    own_samples.flags(made, "predictions", Place("test", "clean"))
    tracemalloc.start()
    strongest = Strongest()
    for frame in own_samples.tables(made, "predictions", rows=1000):
        strongest.add(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert strongest.n == n
    assert peak < 60 * n  # the whole table alone takes 16 columns of 8 bytes


def test_a_record_without_predictions_lists_the_least_confident(recorder_run: Run, tmp_path: Path) -> None:
    (block,) = write_samples(tmp_path, [recorder_run])
    assert block["conditions"] == "n = 30 train samples; 2 replicas, each over its epochs."
    assert [one["title"] for one in block["lists"]][-1] == "Least confident of the truth"
    assert "Bias" not in block["columns"]
    table = pd.read_csv(tmp_path / "samples.csv")
    assert table["bias"].isna().all()
    assert set(table["over"]) == {"epochs"}
    assert block["lists"][-1]["rows"][0][0] == str(table.loc[table["confidence"].idxmin(), "sample_id"])


def test_one_arm_of_predictions_has_no_flags(imported_run: Run, tmp_path: Path) -> None:
    blocks = write_samples(tmp_path, [imported_run])
    assert [[one["title"] for one in block["lists"]] for block in blocks] == [["Most bias", "Most variance"]] * 2
    assert "Flagged" not in blocks[0]["columns"]


def test_names_of_classes_stand_as_text(tmp_path: Path) -> None:
    labels = np.arange(12) % 2
    directory = tmp_path / "named"
    names = ["=1+1", "<b>"]
    import_predictions(
        [np.random.default_rng(r).normal(size=(12, 2)) for r in range(2)],
        labels,
        directory=directory,
        class_names=names,
    )
    write_report([open_run(directory)], tmp_path / "out", figures=["samples"], formats=())
    table = pd.read_csv(tmp_path / "out/samples.csv")
    assert set(table["class_name"]) == {"'=1+1", "<b>"}
    page = (tmp_path / "out/index.html").read_text()
    assert '<a href="#samples">The strongest samples</a>' in page
    assert "<td>&lt;b&gt;</td>" in page


def test_studies_have_neither_the_table_nor_its_figures(study_run: Run, tmp_path: Path) -> None:
    assert write_samples(tmp_path, [study_run]) == []
    assert not list(tmp_path.iterdir())
    assert all(load(name).collect([study_run]).empty for name in FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_n_and_intervals_in_print_that_can_be_read(name: str, run: Run, imported_run: Run) -> None:
    figure = load(name)
    for runs in ([run], [run, imported_run]):
        frame = figure.collect(runs)
        with style.context():
            drawing = figure.draw(frame)
            style.lay_out(drawing)
            texts = drawing.findobj(lambda artist: hasattr(artist, "get_fontsize") and bool(artist.get_text()))
        assert min(text.get_fontsize() for text in texts) >= 9.0
        caption = figure.caption(frame, runs)
        assert f"n = {N}" in caption or f"n = 40 and {N}" in caption
        assert "95 %" in caption
        assert frame.groupby(["run", "arm"]).ngroups == 2 * len(runs)
        assert name == "reliability" or "mean" in set(frame["kind"])


def test_histograms_count_every_sample_once(run: Run) -> None:
    frame = load("term_histograms").collect([run])
    bins = frame[frame["kind"] == "bin"]
    assert (bins.groupby(["arm", "term"])["count"].sum() == N).all()
    assert bins["estimate"].between(bins["low"], bins["high"]).all()
    terms = run.decomposition("plain").corrected()
    mine = bins[(bins["arm"] == "plain") & (bins["term"] == "bias")]
    edges = np.append(mine["bin_low"], mine["bin_high"].iloc[-1])
    assert mine["count"].tolist() == np.histogram(terms.bias, edges)[0].tolist()
    mean = frame[(frame["kind"] == "mean") & (frame["arm"] == "plain") & (frame["term"] == "bias")].iloc[0]
    assert mean["estimate"] == pytest.approx(terms.totals().bias.value)
    assert mean["low"] < mean["estimate"] < mean["high"]


def test_the_plane_and_the_map_are_the_tables_numbers(run: Run) -> None:
    table = pd.concat(own_samples.tables(run, "plain")).set_index("sample_id")
    for name, columns, over in (
        ("bias_against_variance", ["bias", "variance"], None),
        ("data_map", ["confidence", "variability"], "replicas"),
    ):
        frame = load(name).collect([run])
        frame = frame if over is None else frame[frame["over"] == over]
        points = frame[(frame["arm"] == "plain") & (frame["kind"] == "sample")].set_index("sample_id")
        pd.testing.assert_frame_equal(
            points[columns].astype(float).sort_index(), table[columns], check_names=False, check_index_type=False
        )
        np.testing.assert_allclose(points["accuracy"].sort_index(), table["accuracy"])
    maps = load("data_map").collect([run])
    assert maps.loc[maps["kind"] == "mean", ["split", "over"]].to_numpy().tolist() == 2 * [
        ["test", "replicas"], ["train", "epochs"]
    ]  # fmt: skip


def test_reliability_is_that_of_every_replicas_answers(run: Run, logits: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = logits
    probabilities = softmax(2 * values)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    frame = load("reliability").collect([run])
    mine = frame[frame["arm"] == "sharp"]
    assert mine["n"].sum() == R * N
    gaps = []
    for row in mine.itertuples():
        inside = (confidence > row.low) & (confidence <= row.high)
        assert inside.sum() == row.n
        assert right[inside].mean() == pytest.approx(row.accuracy)
        assert row.accuracy_low <= row.accuracy <= row.accuracy_high
        gaps.append(row.n * abs(right[inside].mean() - confidence[inside].mean()))
    first = mine.iloc[0]
    assert first["ece"] == pytest.approx(sum(gaps) / (R * N))
    assert first["ece_low"] <= first["ece"] <= first["ece_high"]
    own = [calibration_error(confidence[r], right[r]) for r in range(R)]
    assert first["ece_of_replicas"] == pytest.approx(np.mean(own))
    assert first["ece_of_replicas_stderr"] == pytest.approx(np.std(own, ddof=1) / np.sqrt(R))


def test_reliability_needs_every_replica_by_itself(tmp_path: Path) -> None:
    random, labels = np.random.default_rng(0), np.arange(20) % 2
    many = [random.normal(size=(20, 2)) for _ in range(17)]  # two of them share a group, as a mean
    made = import_predictions(many, labels, directory=tmp_path / "many")
    assert load("reliability").collect([made]).empty
    assert not load("bias_against_variance").collect([made]).empty


def test_many_samples_become_cells_that_count_them_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x, y, share = random.normal(size=500), random.random(500), (np.arange(500) % 2).astype(float)
    cells = cloud.collected(x, y, share, np.arange(500), bins=6, most=499)
    assert set(cells["kind"]) == {"cell"}
    assert cells["count"].sum() == 500
    assert len(cells) <= 36
    assert (cells["share"] * cells["count"]).sum() == pytest.approx(250)
    counts, *_ = np.histogram2d(x, y, bins=6)
    assert sorted(cells["count"]) == sorted(counts[counts > 0].astype(int))
    one = cloud.collected(np.ones(4), np.ones(4), share[:4], np.arange(4), most=1)
    assert one[["x", "y", "count"]].to_numpy().tolist() == [[pytest.approx(1, abs=0.5), pytest.approx(1, abs=0.5), 4]]


def test_classes_have_their_names_in_the_figure_by_class(tmp_path: Path) -> None:
    labels, names = np.arange(12) % 2, ["cat", "dog"]
    replicas = [np.random.default_rng(r).normal(size=(12, 2)) for r in range(2)]
    made = import_predictions(replicas, labels, directory=tmp_path / "named", class_names=names)
    assert load("by_class").collect([made])["class"].unique().tolist() == names


def test_a_narrow_figures_legend_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "MOST_POINTS", 10)
    random, labels = np.random.default_rng(0), np.arange(90) % 3
    monkeypatch.setattr(cloud.collected, "__kwdefaults__", {**cloud.collected.__kwdefaults__, "most": 10})
    made = import_predictions([random.normal(size=(90, 3)) for _ in range(3)], labels, directory=tmp_path / "one")
    figure = load("bias_against_variance")
    frame = figure.collect([made])
    assert set(frame["kind"]) == {"cell", "mean"}
    with style.context():
        drawing = figure.draw(frame)
        style.lay_out(drawing)
        (legend,) = drawing.legends
        assert legend.get_window_extent().x1 <= drawing.bbox.x1


def test_the_scale_turns_back_and_is_the_axis_own() -> None:
    values = np.array([-12.0, -0.5, -0.004, 0.0, 0.009, 0.02, 3.0])
    np.testing.assert_allclose(roots.square(roots.root(values)), values, atol=1e-14)
    with style.context():
        ax = style.new_figure(height=2.0).subplots()
        roots.put_on(ax, "x", -20.0, 20.0)
        drawn = ax.transData.transform(np.stack([values, np.zeros(7)], axis=1))[:, 0]
    steps = np.diff(drawn) / np.diff(roots.root(values))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


def test_the_command_takes_the_table_by_name(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main([str(run.directory), "--out", str(out), "--figures", "samples", "--formats", "png"]) == 0
    assert {path.name for path in out.iterdir()} == {"index.html", "summary.json", "claims.csv", "samples.csv"}
    assert main([str(run.directory), "--out", str(out), "--figures", "sample"]) == 2
    assert "did you mean 'samples'" in capsys.readouterr().err


def test_samples_are_called_by_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    names = [f"{place}.png" for place in range(N)]
    for replica in range(2):
        with Recorder(
            tmp_path / "named", num_classes=3, temperature=1.0, split="test", view="clean", replica=replica,
            keep_predictions="last", sample_names=names,
        ) as recorder:  # fmt: skip
            recorder.update(names, rng.normal(size=(N, 3)), np.arange(N) % 3)
    (block,) = write_samples(tmp_path, [open_run(tmp_path / "named")])
    table = pd.read_csv(tmp_path / "samples.csv")
    assert table["name"].tolist() == names
    assert block["lists"][0]["rows"][0][0] == table.nlargest(1, "bias")["name"].item()
