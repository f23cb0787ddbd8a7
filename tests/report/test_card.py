"""The card of soft labels: what is written, that its numbers are the analysis's, and what is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from biasvar.analysis import (
    calibration_error,
    calibration_interval,
    effectiveness,
    measure_indicators,
    smooth_labels,
    tempered,
)
from biasvar.records import Run
from biasvar.report.__main__ import main
from biasvar.report.card import tabulate
from biasvar.report.card.collect import KEPT, collect
from biasvar.report.card.options import CardOptions, default_out
from biasvar.report.card.source import Source, open_source
from biasvar.report.card.verdict import verdicts
from biasvar.report.pictures import open_pictures
from biasvar.report.text.numbers import short_number
from tests.analysis.indicators.test_guarantee import hidden_class, missing
from tests.report.test_page import Page

CLASSES, ROWS = 4, 400
GUARANTEES = (
    "Excess risk carried over", "Exponent", "Samples that suffice, infinite class",
    "Samples that suffice, finite class",
)  # fmt: skip


def made(seed: int = 0, classes: int = CLASSES, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    logits = random.normal(size=(rows, classes)) + 2.0 * np.eye(classes)[labels] + 1.0 * np.eye(classes)[labels ^ 1]
    return logits, labels


@pytest.fixture
def files(tmp_path: Path) -> Path:
    logits, labels = made()
    np.save(tmp_path / "soft.npy", tempered(logits, 1.0))
    np.save(tmp_path / "logits.npy", logits)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def card(folder: Path, *more: str, soft: str = "soft.npy", labels: str = "labels.npy", out: str = "card") -> int:
    arguments = ["--soft-labels", str(folder / soft), "--labels", str(folder / labels), "--out", str(folder / out)]
    return main([*arguments, "--formats", "svg", *more])


def fails(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, **options: str) -> None:
    more = options.pop("more", "").split()
    assert card(folder, *more, **options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("biasvar: error: ")
    assert said.err.count("\n") == 1
    for word in words:
        assert word in said.err
    assert not (folder / "card").exists()
    assert not list(folder.glob(".report-*"))


def summary_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return found


def test_a_card_is_whole_and_its_numbers_are_those_of_the_analysis(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(files / "images.npy", np.random.default_rng(1).integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8))
    assert card(files, "--images", str(files / "images.npy"), "--class-names", "a & b,<c>,d,e") == 0
    out = files / "card"
    assert capsys.readouterr().out == f"{out / 'index.html'}\n"
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(source.startswith("data:image/webp;base64,") for source in page.values("img", "src"))
    names = {path.name for path in out.iterdir()}
    links = page.values("a", "href")
    assert {link for link in links if not link.startswith("#")} <= names
    ids = {*page.values("section", "id"), *page.values("figure", "id")}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    assert "&lt;c&gt;" in text
    assert str(files) not in text
    logits, labels = made()
    soft = tempered(logits, 1.0)
    table = effectiveness(soft, labels, ks=[1, 2, 3], thresholds=[0.0, 0.02, 0.05, 0.1, 0.2, 0.5])
    written = pd.read_csv(out / "indicators.csv")
    for column in ("delta", "gamma", "sum", "worst_class_sum", "kappa", "floor", "gamma_low", "kappa_high"):
        np.testing.assert_allclose(written[column], table[column], rtol=1e-9, atol=1e-12)
    summary = summary_of(out)
    right = soft.argmax(axis=1) == labels
    assert summary["accuracy"]["value"] == pytest.approx(right.mean())  # type: ignore[index]
    error = calibration_error(soft.max(axis=1), right)
    assert summary["calibration_error"]["width"] == pytest.approx(error)  # type: ignore[index]
    interval = calibration_interval(soft.max(axis=1), right)
    shown = summary["calibration_error"]["intervals"]["width"]  # type: ignore[index]
    assert [shown["debiased"], shown["low"], shown["high"]] == [interval.estimate, interval.low, interval.high]
    assert f"{interval.low:.3f} to {interval.high:.3f}, debiased {interval.estimate:.3f})" in text
    entropies = pd.read_csv(out / "entropy.csv")
    assert entropies["n"].sum() == ROWS
    assert entropies["n_correct"].sum() == right.sum()
    classes = pd.read_csv(out / "classes.csv")
    np.testing.assert_allclose(classes["accuracy"], [right[labels == c].mean() for c in range(CLASSES)])
    matrix = pd.read_csv(out / "co_occurrence_k2.csv").pivot(index="true", columns="label", values="share")
    np.testing.assert_allclose(matrix, measure_indicators(soft, labels, ks=[2]).sets[0].rates())
    worst = pd.read_csv(out / "worst.csv")
    lowest = worst[worst["kind"] == "Truth lowest"].drop_duplicates("place")
    truth = soft[np.arange(ROWS), labels]
    assert lowest["row"].tolist() == np.argsort(truth)[:KEPT].tolist()


def test_the_same_input_gives_the_same_bytes_and_an_older_card_outlives_a_failure(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tree(name: str) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (files / name).iterdir()}

    assert card(files) == 0
    assert card(files, out="other") == 0
    assert tree("card") == tree("other")
    np.save(files / "soft.npy", np.full((ROWS, CLASSES), 0.3))
    assert card(files) == 2
    assert "row 0" in capsys.readouterr().err
    assert tree("card") == tree("other")


def test_batches_make_no_difference(files: Path) -> None:
    options = CardOptions(soft_labels=str(files / "soft.npy"), labels=str(files / "labels.npy"))
    source = open_source(options)
    whole = collect(source, options)
    small = open_source(options)
    parts = [tuple(part[i : i + 37] for part in one) for one in small.batches() for i in range(0, len(one[0]), 37)]
    object.__setattr__(small, "batches", lambda: iter(parts))
    pieces = collect(small, options)
    assert pieces.fingerprint != ""
    for one, other in zip(whole.worst, pieces.worst, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        np.testing.assert_array_equal(one.soft_labels, other.soft_labels)
    pd.testing.assert_frame_equal(whole.tops.table(), pieces.tops.table())
    np.testing.assert_array_equal(whole.samples.entropy, pieces.samples.entropy)


def test_the_verdict_tells_good_bad_and_random_labels_apart() -> None:
    _, labels = made(rows=2000)

    def of(soft: np.ndarray) -> dict[str, str]:
        options = CardOptions(soft_labels="x")
        source = open_source_of(soft, labels)
        return {row.question: row.verdict for row in verdicts(collect(source, options), list("abcd"))}

    good = of(smooth_labels(labels, CLASSES, 0.1))
    assert good["Top-k condition"] == good["Top-k condition in every class"] == "holds"
    assert good["Cross-entropy students, class by class"] == "holds"
    swapped = of(smooth_labels(labels ^ 1, CLASSES, 0.1))
    assert swapped["Top-k condition"] == "does not hold"
    assert swapped["Cross-entropy students, class by class"] == "does not hold"
    noise = of(np.random.default_rng(2).dirichlet(np.ones(CLASSES), len(labels)))
    assert noise["Top-k condition"] == "undecided"
    # Never first, always second: the sets hold the truth, the mean label does not name it.
    second = np.full((len(labels), CLASSES), 0.0)
    rival = (labels + 1 + np.random.default_rng(3).integers(0, CLASSES - 1, len(labels))) % CLASSES
    second[np.arange(len(labels)), labels] = 0.1
    second[np.arange(len(labels)), rival] = 0.9
    found = of(second)
    assert found["Top-k condition"] == "holds"
    assert found["Cross-entropy students, class by class"] == "does not hold"


def test_no_guarantee_where_a_class_fails_that_the_average_hides(tmp_path: Path) -> None:
    soft, labels = hidden_class()
    np.save(tmp_path / "soft.npy", soft)
    np.save(tmp_path / "labels.npy", labels)
    assert card(tmp_path, "--ks", "1", "--class-names", "cat,dog,owl") == 0
    summary = summary_of(tmp_path / "card")
    rows = {row["question"]: row for row in summary["verdict"]}  # type: ignore[attr-defined]
    assert rows["Top-k condition"]["verdict"] == "holds"
    assert rows["Top-k condition in every class"]["verdict"] == "does not hold"
    for question in GUARANTEES:
        assert rows[question]["value"] is None
        assert rows[question]["detail"] == "no guarantee: the condition is not met in class cat"
    assert summary["guarantee"]["stands"] is False  # type: ignore[index]
    assert [(row["class"], row["fails"]) for row in summary["guarantee"]["lacking"]] == [(0, True)]  # type: ignore[index]
    assert rows["Largest error if Δ is only an average"]["value"] == pytest.approx(0.3)
    text = (tmp_path / "card" / "index.html").read_text(encoding="utf-8")
    assert text.count("no guarantee: the condition is not met in class cat") == len(GUARANTEES)
    assert text.count('<span class="effect">none</span>') == len(GUARANTEES)


def test_a_guarantee_that_stands_has_the_numbers_of_the_upper_ends(tmp_path: Path) -> None:
    soft, labels = missing([20, 4, 10], 400)
    np.save(tmp_path / "soft.npy", soft)
    np.save(tmp_path / "labels.npy", labels)
    assert card(tmp_path, "--ks", "1") == 0
    rows = {row["question"]: row for row in summary_of(tmp_path / "card")["verdict"]}  # type: ignore[attr-defined]
    high = binomtest(20, 400).proportion_ci(1 - 0.05 / 9).high
    kappa = (np.sqrt(1 - high) - np.sqrt(high)) ** 2
    found = [rows[question]["value"] for question in GUARANTEES]
    theta = 0.1 * np.log(2 / (2 - kappa))
    natarajan = 4 / theta * (10 * (np.log(40) + 2 * np.log(3) - np.log(theta)) + np.log(20) + 1)
    finite = (np.log(1e6) + np.log(20)) / (0.1 * kappa)
    assert found == pytest.approx([1 / (1 - 2 * high), kappa, natarajan, finite])


def test_clusters_widen_every_interval_of_the_card_and_the_page_says_so(tmp_path: Path) -> None:
    """Every row ten times over: a card that knows which are copies says what the card of the rows once says."""
    logits, labels = made()
    soft, image = np.repeat(tempered(logits, 1.0), 10, axis=0), np.repeat(np.arange(ROWS), 10)
    order = np.random.default_rng(0).permutation(len(image))
    many = pd.DataFrame(soft[order], columns=[f"p{c}" for c in range(CLASSES)])
    many = many.assign(label=np.repeat(labels, 10)[order])
    many.to_parquet(tmp_path / "rows.parquet")
    many.assign(image=[f"img {i}" for i in image[order]]).to_parquet(tmp_path / "many.parquet")
    np.save(tmp_path / "once.npy", tempered(logits, 1.0))
    np.save(tmp_path / "labels.npy", labels)
    for name, more in (("many", ["--clusters", "image"]), ("rows", [])):
        out = ["--out", str(tmp_path / name), "--formats", "svg"]
        assert main(["--soft-labels", str(tmp_path / f"{name}.parquet"), *more, *out]) == 0
    assert card(tmp_path, soft="once.npy", out="once") == 0
    summaries = {name: summary_of(tmp_path / name) for name in ("many", "rows", "once")}
    assert [summaries[name]["clusters"] for name in summaries] == [ROWS, None, None]
    assert [summaries[name]["n"] for name in summaries] == [10 * ROWS, 10 * ROWS, ROWS]

    def widths(name: str) -> dict[str, float]:
        summary, found = summaries[name], {}
        found["accuracy"] = summary["accuracy"]["high"] - summary["accuracy"]["low"]  # type: ignore[index]
        error = summary["calibration_error"]["intervals"]["width"]  # type: ignore[index]
        found |= {"ece": error["high"] - error["low"], "root": error["root_high"] - error["root_low"]}
        for file, columns in (
            ("indicators", ("delta", "gamma", "sum", "worst_class_sum", "kappa_classes", "margin")),
            ("classes", ("accuracy", "delta", "gamma", "sum", "margin")),
            ("calibration", ("accuracy",)),
        ):
            table = pd.read_csv(tmp_path / name / f"{file}.csv")
            found |= {f"{file} {c}": (table[f"{c}_high"] - table[f"{c}_low"]).median() for c in columns}
        pairs = pd.read_csv(tmp_path / name / "pairs.csv")
        return found | {"pairs": (pairs["high"] - pairs["low"]).median()}

    many_wide, rows, once = (widths(name) for name in ("many", "rows", "once"))
    for what, width in many_wide.items():
        assert width == pytest.approx(once[what], rel=0.2), what
        assert rows[what] < 0.75 * width, what
    text = (tmp_path / "many" / "index.html").read_text(encoding="utf-8")
    assert "4,000 soft labels in 400 clusters (column &#39;image&#39; of many.parquet)" in text
    assert "Rows come in 400 clusters of 10 rows" in text
    assert "over 400 clusters: Clopper-Pearson at the effective number of rows" in text


def test_clusters_come_from_files_and_columns_by_id_or_place(files: Path) -> None:
    labels = np.load(files / "labels.npy")
    names = np.arange(ROWS) // 4
    np.save(files / "names.npy", names)
    np.save(files / "words.npy", np.char.add("a", names.astype(str)))
    pd.DataFrame({"label": labels, "person": names}).to_csv(files / "labels.csv", index=False)
    shuffled = np.random.default_rng(0).permutation(ROWS)
    table = pd.DataFrame({"sample_id": shuffled, "person": names[shuffled], "place": 1})
    table.to_parquet(files / "table.parquet")
    table[["sample_id", "person"]].to_csv(files / "two.csv", index=False)
    expected = None
    for clusters in ("names.npy", "words.npy", "labels.csv:person", "person", "table.parquet:person", "two.csv"):
        place = clusters if clusters == "person" else str(files / clusters)
        assert card(files, "--clusters", place, labels="labels.csv") == 0
        summary = summary_of(files / "card")
        assert summary["clusters"] == ROWS / 4
        expected = expected or summary["accuracy"]
        assert summary["accuracy"] == expected
    assert card(files, out="other") == 0
    assert summary_of(files / "other")["accuracy"] != expected


def test_bad_clusters_are_refused_in_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = np.arange(ROWS) // 4
    labels = np.load(files / "labels.npy")
    np.save(files / "short.npy", names[:-1])
    np.save(files / "long.npy", np.append(names, 1))
    np.save(files / "half.npy", names + 0.5)
    np.save(files / "gaps.npy", np.where(np.arange(ROWS) == 7, np.nan, names))
    np.save(files / "wide.npy", names[:, None])
    frame = pd.DataFrame({"label": labels, "person": names, "site": 0})
    frame.astype({"person": object}).assign(person=[None if i == 9 else str(n) for i, n in enumerate(names)]).to_csv(
        files / "labels.csv", index=False
    )
    frame.assign(sample_id=np.arange(ROWS) + 1).to_parquet(files / "ids.parquet")
    frame.assign(sample_id=np.arange(ROWS) // 2, person=np.arange(ROWS)).to_parquet(files / "twice.parquet")
    frame.assign(id=np.arange(ROWS)[::-1]).to_parquet(files / "order.parquet")
    (files / "names.txt").write_text("a\n")
    for place, words in (
        ("short.npy", ("clusters short.npy names 399 rows", "more soft labels")),
        ("long.npy", ("names 401 rows", "400 soft labels")),
        ("half.npy", ("--clusters must be named by whole numbers or texts", "0.5")),
        ("gaps.npy", ("--clusters must name a cluster for every row; row 7 has none",)),
        ("wide.npy", ("shape (N,)", "(400, 1)")),
        ("labels.csv:person", ("every row; row 9 has none",)),
        ("labels.csv:persn", ("has no column 'persn'", "did you mean 'person'", "label, person, site")),
        ("labels.csv", ("which column names the clusters", "labels.csv:person")),
        ("ids.parquet:person", ("lacks sample_id 0 of the soft labels",)),
        ("twice.parquet:person", ("comes more than once, with different 'person'",)),
        ("order.parquet:person", ("column 'id' is not in order",)),
        ("names.txt", ("suffix", ".npy")),
        ("none.npy", ("none.npy does not exist",)),
        ("half.npy:person", ("holds an array and has no columns",)),
    ):
        fails(capsys, files, *words, more=f"--clusters {files / place}")
    fails(capsys, files, "'persn' is neither a file", "did you mean 'person'", "labels.csv: label, person, site",
          more="--clusters persn", labels="labels.csv")  # fmt: skip
    fails(capsys, files, "no table is given", more="--clusters person")
    assert main(["--clusters", "x.npy"]) == 2
    assert "--clusters belongs to a card" in capsys.readouterr().err


def test_rows_that_share_sample_ids_are_said(files: Path) -> None:
    soft, labels = np.load(files / "soft.npy"), np.load(files / "labels.npy")
    frame = pd.DataFrame(soft, columns=[f"p{c}" for c in range(CLASSES)])
    frame.assign(sample_id=np.arange(ROWS) // 4, label=labels).to_parquet(files / "soft.parquet")
    for more, said in (([], True), (["--clusters", "sample_id"], False)):
        arguments = ["--soft-labels", str(files / "soft.parquet"), "--out", str(files / "card"), "--formats", "svg"]
        assert main([*arguments, *more]) == 0
        text = (files / "card" / "index.html").read_text(encoding="utf-8")
        assert ("400 rows have 100 different sample ids" in text) == said
        assert ("Rows come in 100 clusters of 4 rows" in text) == (not said)


def test_clusters_of_a_run_go_by_sample_id(study_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = study_run.samples["sample_id"].to_numpy()
    np.save(tmp_path / "names.npy", ids)
    pd.DataFrame({"sample_id": ids, "writer": ids % 40}).to_csv(tmp_path / "writers.csv", index=False)
    arguments = ["--soft-labels", f"{study_run.directory}:kd", "--out", str(tmp_path / "card"), "--formats", "svg"]
    assert main([*arguments, "--clusters", str(tmp_path / "names.npy")]) == 2
    assert "rows of a run go by sample_id" in capsys.readouterr().err
    assert main([*arguments, "--clusters", str(tmp_path / "writers.csv")]) == 0
    shown = study_run.samples.query("split == 'test'")["sample_id"]
    assert summary_of(tmp_path / "card")["clusters"] == (shown % 40).nunique()


def open_source_of(soft: np.ndarray, labels: np.ndarray) -> Source:
    parts = [(soft, labels, np.arange(len(labels)))]
    return Source("made", soft.shape[1], len(labels), lambda: iter(parts), None, ())


def test_ties_are_said_and_smoothed_labels_have_no_worst_sample(files: Path) -> None:
    _, labels = made()
    np.save(files / "soft.npy", smooth_labels(labels, CLASSES, 0.1))
    assert card(files) == 0
    text = (files / "card" / "index.html").read_text(encoding="utf-8")
    assert "at k = 2 (400 rows)" in text
    assert not (files / "card" / "worst.csv").exists()
    assert card(files, "--ties", "include", out="all") == 0
    assert "sets hold more than k labels" in (files / "all" / "index.html").read_text(encoding="utf-8")


def test_logits_scores_and_sums(files: Path) -> None:
    assert card(files, "--temperature", "1", soft="logits.npy", out="tempered") == 0
    assert card(files, out="plain") == 0
    one, other = (pd.read_csv(files / name / "indicators.csv") for name in ("tempered", "plain"))
    pd.testing.assert_frame_equal(one, other)
    assert card(files, "--scores", soft="logits.npy", out="scores") == 0
    scores = files / "scores"
    assert summary_of(scores)["calibration_error"] is None
    assert not (scores / "entropy.csv").exists()
    np.testing.assert_allclose(pd.read_csv(scores / "indicators.csv")["delta"], one["delta"][:3])
    np.save(files / "counts.npy", 7.0 * np.load(files / "soft.npy"))
    assert card(files, "--normalize", soft="counts.npy", out="sums") == 0
    assert summary_of(files / "sums")["accuracy"] == summary_of(files / "plain")["accuracy"]


def test_tables_are_read_by_the_names_of_their_columns(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft = np.load(files / "soft.npy")
    frame = pd.DataFrame(soft[:, [2, 0, 1, 3]], columns=["cow", "ant", "bee", "dog"])
    frame.to_parquet(files / "words.parquet")
    fails(capsys, files, "--columns cow,ant,bee,...", "--class-names", soft="words.parquet")
    assert card(files, out="expected") == 0
    expected = summary_of(files / "expected")
    for option in ("--class-names", "--columns"):
        assert card(files, option, "ant,bee,cow,dog", soft="words.parquet", out="words") == 0
        for name in ("accuracy", "calibration_error"):
            assert summary_of(files / "words")[name] == expected[name]
    capsys.readouterr()
    fails(capsys, files, "--values probabilities", soft="soft.npy", more="--temperature 2")
    assert card(files, "--temperature", "1", "--values", "probabilities", out="again") == 0
    capsys.readouterr()
    fails(capsys, files, "--values", "--temperature too", more="--values logits")
    order = np.argsort(-soft, axis=1)[:, :2]
    np.savez(files / "top.npz", indices=order, values=np.take_along_axis(soft, order, 1))
    fails(capsys, files, "--rest uniform or zero", "--num-classes K", soft="top.npz")
    assert card(files, "--rest", "uniform", "--num-classes", "4", soft="top.npz", out="top") == 0


def test_thousand_classes_show_the_most_confusable(tmp_path: Path) -> None:
    logits, labels = made(classes=200, rows=1200)
    np.save(tmp_path / "soft.npy", tempered(4 * logits, 1.0))
    pd.DataFrame({"label": labels}).to_csv(tmp_path / "labels.csv", index=False)
    assert card(tmp_path, labels="labels.csv") == 0
    text = (tmp_path / "card" / "index.html").read_text(encoding="utf-8")
    assert "180 more are in" in text
    matrix = pd.read_csv(tmp_path / "card" / "co_occurrence_k1.csv")
    assert len(matrix) <= tabulate.MOST_CLASSES**2
    pairs = pd.read_csv(tmp_path / "card" / "pairs.csv")
    first = pairs.iloc[0]
    assert {first["true"], first["wrong"]} <= set(matrix["true"])
    assert len(pd.read_csv(tmp_path / "card" / "classes.csv")) == 200


def test_two_classes_and_one_k(tmp_path: Path) -> None:
    logits, labels = made(classes=2)
    np.save(tmp_path / "soft.npy", tempered(logits, 1.0))
    np.save(tmp_path / "labels.npy", labels)
    assert card(tmp_path, "--thresholds", "0.4") == 0
    assert len(pd.read_csv(tmp_path / "card" / "indicators.csv")) == 2


def test_a_teacher_an_arm_and_soft_labels_of_a_run(study_run: Run, tmp_path: Path) -> None:
    place = str(study_run.directory)
    images = ["--images", "digits"]
    assert main(["--soft-labels", place, "--out", str(tmp_path / "t"), "--formats", "png", *images]) == 0
    text = (tmp_path / "t" / "index.html").read_text(encoding="utf-8")
    assert "the teacher was trained on" in text
    assert (tmp_path / "t" / "worst.png").exists()
    arguments = ["--soft-labels", f"{place}:main", "--held-out", "--split", "test", "--out", str(tmp_path / "h")]
    assert main([*arguments, "--formats", "png"]) == 0
    assert summary_of(tmp_path / "h")["n"] == 97
    assert main(["--soft-labels", f"{place}:kd", "--out", str(tmp_path / "a"), "--formats", "png"]) == 0
    assert summary_of(tmp_path / "a")["n"] == 97
    assert "mean prediction of kd" in str(summary_of(tmp_path / "a")["soft_labels"])


def test_what_a_run_does_not_have(study_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name, more, words in (
        ("none", [], ("no teacher, soft labels or arm named 'none'", "kd_disjoint")),
        ("own", [], ("differs by replica", "--replica")),
        ("kd", ["--replica", "1"], ("--replica",)),
        ("kd", ["--held-out"], ("--held-out",)),
    ):
        assert main(["--soft-labels", f"{study_run.directory}:{name}", *more]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        for word in words:
            assert word in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda soft, labels: soft.__setitem__((7, 0), 0.9), ("sum to 1", "row 7 ", "--normalize")),
        (lambda soft, labels: soft.__setitem__((7, 0), np.nan), ("finite", "row 7 ")),
        (lambda soft, labels: soft.__setitem__((7, 0), -0.1), ("negative", "row 7 ", "--scores", "--temperature 1")),
        (lambda soft, labels: labels.__setitem__(7, CLASSES), ("0 .. 3", "row 7 ")),
        (lambda soft, labels: labels.__setitem__(7, -1), ("0 .. 3", "row 7 ")),
        (lambda soft, labels: labels.__setitem__(labels == 2, 1), ("class 2", "no samples")),
    ],
)
def test_bad_numbers_are_refused_by_row_and_rule(
    files: Path, capsys: pytest.CaptureFixture[str], change: object, words: tuple[str, ...]
) -> None:
    soft, labels = np.load(files / "soft.npy"), np.load(files / "labels.npy")
    change(soft, labels)  # type: ignore[operator]
    np.save(files / "soft.npy", soft)
    np.save(files / "labels.npy", labels)
    fails(capsys, files, *words)


def test_bad_files_and_options_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(files / "short.npy", np.load(files / "labels.npy")[:-1])
    np.save(files / "long.npy", np.zeros(ROWS + 1, dtype=int))
    np.save(files / "flat.npy", np.zeros(ROWS))
    np.save(files / "images.npy", np.zeros((ROWS - 1, 8, 8)))
    (files / "soft.txt").write_text("0.5 0.5\n")
    (files / "broken.npy").write_bytes(b"\x93NUMPY nothing")
    fails(capsys, files, "399", labels="short.npy")
    fails(capsys, files, "401", labels="long.npy")
    fails(capsys, files, "(N, K)", soft="flat.npy")
    fails(capsys, files, "missing.npy", soft="missing.npy")
    fails(capsys, files, "missing.npy", labels="missing.npy")
    fails(capsys, files, "suffix", soft="soft.txt")
    fails(capsys, files, "broken.npy", soft="broken.npy")
    fails(capsys, files, "(400, H, W)", more=f"--images {files / 'images.npy'}")
    fails(capsys, files, "images of digits", more="--images digits")
    fails(capsys, files, "k must be", more="--ks 1,9")
    fails(capsys, files, "--ks takes whole numbers", more="--ks a")
    fails(capsys, files, "threshold must be", more="--thresholds 2")
    fails(capsys, files, "--normalize", more="--normalize --scores")
    fails(capsys, files, "--temperature", more="--scores --temperature 2")
    fails(capsys, files, "above 0", more="--temperature 0", soft="logits.npy")
    fails(capsys, files, "must name 4 classes", more="--class-names a,b")
    fails(capsys, files, "--split", more="--split test")
    fails(capsys, files, "belong to a report", more="--figures gallery")
    assert main(["--labels", "x.npy"]) == 2
    assert "--soft-labels" in capsys.readouterr().err
    assert main(["--soft-labels", str(files / "soft.npy")]) == 2
    assert "labels" in capsys.readouterr().err


def test_images_are_found_by_split_and_row_and_refused_with_other_labels() -> None:
    from biasvar.data import load_dataset

    digits = load_dataset("digits")
    ids = np.array([5, 3, 11])
    found = open_pictures("digits", ids, digits.labels[ids])
    np.testing.assert_array_equal(found.at([1])[0], digits.images[3])
    with pytest.raises(ValueError, match="row 2 is of class"):
        open_pictures("digits", ids, np.append(digits.labels[ids[:2]], (digits.labels[11] + 1) % 10))


def test_names_of_folders_and_numbers() -> None:
    assert default_out(CardOptions(soft_labels="data/soft.npy")) == Path("soft_card")
    assert default_out(CardOptions(soft_labels="runs/digits:main")) == Path("digits_main_card")
    assert [short_number(value) for value in (-0.0001, 12345.6, 2.5e9)] == ["0.000", "12,346", "2.5e9"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(np.arange(ROWS) == 4, np.nan, 0.0), "rows 4 lack a label"),
        (np.where(np.arange(ROWS) == 7, np.inf, 0.0), "row 7 is none (the first is inf)"),
        (np.where(np.arange(ROWS) == 9, 2.0**31, 0.0), "row 9 is none"),
        (np.arange(ROWS) % CLASSES + 0.5, "row 0, 1, 2, 3, 4 and 395 more is none"),
        (np.array(["0"] * 3 + ["cat"] * (ROWS - 3)), "row 3 holds 'cat'"),
        (np.array(["0"] * ROWS), "they are text"),
    ],
)
def test_labels_that_are_no_class_numbers_name_their_row(
    values: np.ndarray, message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(files / "bad.npy", values)
    fails(capsys, files, "bad.npy", message, labels="bad.npy")
    pd.DataFrame({"label": values}).to_csv(files / "bad.csv", index=False)
    if values.dtype.kind != "U" or "cat" in values:  # numbers in quotes are numbers in a CSV file
        fails(capsys, files, "bad.csv", message.split(" (the")[0], labels="bad.csv")


def test_files_that_are_no_arrays_or_have_one_class(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "text.npy").write_text("hello")
    np.save(files / "one.npy", np.ones((ROWS, 1)))
    fails(capsys, files, "text.npy cannot be read as a NumPy file (it does not begin as one)", labels="text.npy")
    fails(capsys, files, "(it does not begin as one)", more=f"--images {files / 'text.npy'}")
    fails(capsys, files, "one.npy must hold at least two classes", soft="one.npy")
    labels = pd.DataFrame({"sample_id": np.arange(ROWS) // 2, "label": made()[1]})
    labels.to_parquet(files / "twice.parquet")
    fails(capsys, files, "labels: column 'sample_id' 0, 1, 2, 3, 4 and 195 more comes more than once",
          labels="twice.parquet")  # fmt: skip


def test_a_run_without_a_teacher_and_a_split_that_it_lacks(
    imported_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more, message in (
        ("", [], "has no teacher: name one of its soft labels or arms"),
        (":plain", ["--split", "tset"], "did you mean 'test'"),
    ):
        out = str(tmp_path / "card")
        assert main(["--soft-labels", f"{imported_run.directory}{name}", "--out", out, *more]) == 2
        assert message in capsys.readouterr().err
        assert not Path(out).exists()
