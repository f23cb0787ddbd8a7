"""The command and the page: what is written, from which runs, and what is refused."""

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from biasvar.analysis import mean_interval
from biasvar.records import Run
from biasvar.report import style
from biasvar.report.__main__ import main
from biasvar.report.figures import FIGURES, load
from biasvar.report.page import open_runs, write_report
from biasvar.report.text import description
from biasvar.report.text.captions import conditions
from biasvar.report.text.claims import claim_groups, outcome
from tests.report.conftest import ROOT, report


class Page(HTMLParser):
    """The tags of a page, with a check that every one is closed in its turn."""

    VOID = ("meta", "img", "br", "source")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, tag: str, attribute: str) -> list[str]:
        return [found[attribute] or "" for name, found in self.tags if name == tag and attribute in found]


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def text_of(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_every_figure_is_written_with_its_numbers(written: Path) -> None:
    drawn = [name for name in FIGURES if (written / f"{name}.png").exists()]
    # Too few replicas or teachers for the rest of them in so small a study.
    assert {"bias_variance", "accuracy", "shares", "gradients", "weights", "indicators", "curves"} <= set(drawn)
    expected = {f"{name}.{suffix}" for name in drawn for suffix in ("png", "svg", "csv")}
    assert {path.name for path in written.iterdir()} == expected | {"index.html", "claims.csv", "summary.json"}
    for name in drawn:
        assert len(pd.read_csv(written / f"{name}.csv"))
        assert "<text" in (written / f"{name}.svg").read_text(encoding="utf-8")  # text stays text


def test_the_page_is_whole_and_needs_nothing_else(written: Path) -> None:
    page = Page(text_of(written))
    assert "script" not in {tag for tag, _ in page.tags}
    assert "link" not in {tag for tag, _ in page.tags}
    pictures = page.values("img", "src")
    assert pictures
    assert all(source.startswith("data:image/webp;base64,") for source in pictures)
    assert len(page.values("img", "alt")) == len(pictures)
    assert min(len(alt) for alt in page.values("img", "alt")) > 40
    links = page.values("a", "href")
    names = {name for tag in ("section", "figure", "tbody", "h3") for name in page.values(tag, "id")}
    assert all(link[1:] in names if link.startswith("#") else (written / link).is_file() for link in links)
    words = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", text_of(written))  # any letters occur in pictures
    assert "http" not in words.replace("http-equiv", "")
    assert "width=device-width" in text_of(written)


def test_every_table_lies_in_a_box_that_shows_where_it_goes_on(written: Path) -> None:
    text = text_of(written)
    assert text.count("<table") == len(re.findall(r'<div class="scroll[^"]*">\s*<table', text)) > 0
    assert re.search(r"\.scroll \{[^}]*local[^}]*\}", text)


def test_the_page_says_what_the_study_is_and_escapes_it(written: Path) -> None:
    text = text_of(written)
    assert "<h1>A small &lt;study&gt; of soft labels &amp; $tests$</h1>" in text
    for words in (
        "8 ways of training",
        "an MLP with 12 hidden units",
        "4 replicas, each trained on 120 of the same 1,560",
    ):
        assert words in text
    assert "97 test rows that no training and no choice saw" in text
    assert "fixed, disjoint rows (1)" in text
    for name in ("Study hash", "Fingerprint of the data", "Versions of the run", "Learning rates"):
        assert name in text
    assert "What each arm was given, and took" in text
    assert re.search(
        r"<td>KD</td><td class=\"number\">[\d.]+</td><td>KD</td>.*>2 × 2</td><td class=\"number\">24</td>", text
    )
    assert "Not converged, with a rise of validation accuracy of 0.005 or more" in text


def test_every_figure_has_its_number_caption_and_conditions(written: Path) -> None:
    text = html.unescape(text_of(written))
    place = 0
    for name in FIGURES:
        if (written / f"{name}.csv").exists():
            place += 1
            part = re.search(rf'<figure id="{name}">.*?</figure>', text, re.DOTALL)
            assert part is not None
            assert f"Figure {place}" in part[0]
            assert "each trained on 120 of the same 1,560 rows" not in part[0]  # said once, for all of them
        else:
            about = f"<li>{load(name).title}: needs "
            assert (about in text) == (not load(name).kinds)  # those of one's own runs are not missing from a study's


def test_what_holds_for_every_figure_is_said_once(written: Path, study_run: Run) -> None:
    text = html.unescape(text_of(written))
    shared = conditions([study_run])
    assert "4 replicas, each trained on 120 of the same 1,560 rows" in shared
    assert text.count(f"<p>In every figure: {shared}</p>") == text.count(shared) == 1
    assert text.index(shared) < text.index("<figure")


def test_the_page_explains_its_words_and_short_forms(written: Path) -> None:
    text = text_of(written)
    section = text[text.index('<section id="words">') :]
    terms = re.findall(r"<dt>([^<]+)</dt><dd>[^<]{40,}</dd>", section[: section.index("</section>")])
    assert len(terms) == 8
    short = text[text.index('<p class="key">') : text.index("</p>", text.index('<p class="key">'))]
    said = dict(re.findall(r"<strong>([^<]+)</strong> ([^<]+)<", short))
    assert said["KD"] == "knowledge distillation"
    assert said["WSL"] == "weighted soft labels"
    assert "ProKT" not in said  # there is none on this page


def test_the_first_figure_stands_before_the_claims_and_these_are_folded(written: Path) -> None:
    text = text_of(written)
    first = text[text.index("<figure") : text.index("</figure>")]
    assert first.index("<picture>") < first.index('<p class="how">')  # else a phone's first screen is all words
    assert text.index("<figure") < text.index('<section id="claims">') < text.index('<details class="claim"')
    claims = text[text.index('<section id="claims">') :]
    rows = claims[: claims.index("</section>")]
    assert rows.count('<details class="claim" id=') == pd.read_csv(written / "claims.csv")["id"].nunique()
    assert "open" not in re.findall(r"<details[^>]*>", rows)[0]
    assert 'href="#claims"' in text[: text.index("<figure")]


def test_decided_claims_come_first_and_their_number_is_said() -> None:
    columns = ["run", "id", "claim", "source", "regime", "arms", "overall", "verdict", "said", "designs_tried", "test"]
    numbers = dict.fromkeys(("effect", "low", "high", "stderr", "threshold", "level"), 0.5) | {"n": 4.0}
    tests = [("A", "x", "undecided"), ("B", "x", "holds"), ("B", "y", "undecided"), ("C", "x", "does not hold")]
    claims = pd.DataFrame(
        [
            {**dict.fromkeys(columns, ""), **numbers, "run": "r", "id": name, "arms": arms, "regime": "per replica",
             "overall": verdict, "verdict": verdict, "said": verdict, "designs_tried": np.nan, "direction": "greater",
             "unit": "nats", "detail": ""}
            for name, arms, verdict in tests
        ]
    )  # fmt: skip
    groups = claim_groups(claims)
    assert [group["id"] for group in groups] == ["B", "C", "A"]
    assert [[chip["verdict"] for chip in group["chips"]] for group in groups] == [
        ["holds", "undecided"], ["does not hold"], ["undecided"]
    ]  # fmt: skip
    assert outcome(claims) == (
        "Of 3 claims, 1 does not hold, 1 is undecided and 1 comes out differently in different comparisons."
    )
    by_teacher = claims[claims["id"] == "B"].assign(regime=["per replica", "fixed, disjoint rows"])
    assert outcome(by_teacher) == "Of 1 claim, 1 comes out differently under different teachers."
    assert outcome(claims[claims["id"] == "C"]) == "Of 1 claim, 1 does not hold."
    assert outcome(claims[:0]) == ""


def renamed(source: Path, target: Path) -> Path:
    """A copy of a run whose teachers have keys and labels that no sentence of ours has."""
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    for name in manifest["teachers"]:
        (target / "teachers" / f"{name}.parquet").rename(target / "teachers" / f"key_{name}.parquet")
    labelled = {name: entry | {"label": f"Label of {name}"} for name, entry in manifest["teachers"].items()}
    manifest["teachers"] = {f"key_{name}": entry for name, entry in labelled.items()}
    manifest["reference_teacher"] = "key_main"
    for entry in manifest["arms"].values():
        entry |= {key: f"key_{entry[key]}" for key in ("teacher", "scored_against") if entry.get(key)}
    manifest["arms"]["kd"]["failed_replicas"] = [{"replica": 2, "reason": "at chance"}]
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    study = yaml.safe_load((target / "study.yaml").read_text(encoding="utf-8"))
    study["teachers"] = {f"key_{name}": entry for name, entry in study["teachers"].items()}
    study["reference_teacher"] = "key_main"
    for entry in study["arms"].values():
        entry |= {"teacher": f"key_{entry['teacher']}"} if entry.get("teacher") else {}
    (target / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return target


def test_keys_of_the_study_file_stand_nowhere_in_the_pages_sentences(study_run: Run, tmp_path: Path) -> None:
    run = renamed(study_run.directory, tmp_path / "run")
    write_report(open_runs([run]), tmp_path / "out", figures=FIGURES, formats=[])
    text = html.unescape(
        re.sub(r"<style>.*?</style>|<code>.*?</code>|<[^>]+>", " ", text_of(tmp_path / "out"), flags=re.S)
    )
    assert "Label of main" in text
    assert "Label of own" in text
    assert re.findall(r"\bkey_\w+", text) == []
    keys = [arm for arm in study_run.arms if study_run.entry(arm).label != arm]
    assert [arm for arm in keys if re.search(rf"(?<![\w.-]){arm}(?![\w-])", text)] == []
    assert re.findall(r"figure [`“][^`”]*.|criterion:|biasvar/\w+", text) == []


def test_figures_that_captions_name_by_title_are_there() -> None:
    sources = [
        Path(sys.modules[load(name).collect.__module__].__file__ or "").read_text(encoding="utf-8") for name in FIGURES
    ]
    named = [
        title for source in sources for title in re.findall(r"figure “([^”{]+)”", re.sub(r'"\n\s*f?"', "", source))
    ]
    assert named
    assert set(named) <= {load(name).title for name in FIGURES}


def test_every_figure_has_a_picture_for_narrow_screens(written: Path) -> None:
    page = Page(text_of(written))
    narrow = [attrs for tag, attrs in page.tags if tag == "source"]
    assert len(narrow) == len(page.values("img", "src"))
    assert {attrs["media"] for attrs in narrow} == {"(max-width: 46rem)"}
    assert max(int(attrs["width"] or 0) for attrs in narrow) <= 100 * style.NARROW_WIDTH


def test_claims_stand_on_the_page_with_verdict_interval_and_regime(written: Path) -> None:
    claims = pd.read_csv(written / "claims.csv")
    assert claims["id"].tolist() == ["W1", "W1", "W8"]
    rows = re.findall(
        r'<td><span class="verdict [a-z-]+">([a-z ]+)</span>(?:<br><span class="detail">([^<]+)</span>)?',
        text_of(written),
    )
    assert [
        f"{verdict}{',' if rest[:1] == ',' else ''} {rest.lstrip(', ')}".strip() for verdict, rest in rows
    ] == claims["said"].tolist()
    assert "own teacher per replica" in text_of(written)
    shown = [float(text.replace("−", "-")) for text in re.findall(r'class="effect">([+−][\d.]+)<', text_of(written))]
    assert np.all(np.abs(shown - claims["effect"]) < claims["stderr"] / 10)


def test_summary_holds_totals_with_both_errors(written: Path, study_run: Run) -> None:
    summary = json.loads((written / "summary.json").read_text(encoding="utf-8"))["runs"]["small"]
    assert list(summary["arms"]) == study_run.arms
    totals = study_run.decomposition("kd").corrected().totals()
    found = summary["arms"]["kd"]
    assert (found["budget"]["settings_tried"], found["budget"]["steps"]) == (2, 24)
    assert found["budget"]["seconds"] == pytest.approx(sum(study_run.arm("kd")["group_processor_seconds"]) / 4)
    for term in ("bias", "variance"):
        total = getattr(totals, term)
        assert found[term]["value"] == pytest.approx(total.value)
        assert found[term]["stderr_replicas"] == pytest.approx(total.stderr_replicas)
        assert found[term]["stderr_samples"] == pytest.approx(total.stderr_samples)
        assert (found[term]["n_replicas"], found[term]["n_samples"]) == (4, 97)
    last = study_run.metrics.query("arm == 'kd' and split == 'test' and view == 'clean' and epoch == 4")
    for name in ("accuracy", "nll", "ece"):
        assert found[name]["value"] == pytest.approx(last[name].mean())
        assert found[name]["stderr_replicas"] == pytest.approx(last[name].std() / 2)
    record = study_run.records(["sample_id", "label", "student_prediction"], arm="kd", split="test", view="clean")
    right = record.assign(right=record["label"] == record["student_prediction"]).groupby("sample_id")["right"].mean()
    assert found["accuracy"]["stderr_samples"] == pytest.approx(right.std() / 97**0.5)
    assert summary["provenance"]["study_hash"] == study_run.manifest["study_hash"]


@pytest.mark.slow
def test_the_same_bytes_again_and_no_torch(written: Path, study_run: Run, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    code = (
        "import sys; from biasvar.report.__main__ import main; "
        f"status = main([{str(study_run.directory)!r}, '--out', {str(again)!r}, '--formats', 'png,svg']); "
        "assert not any(name.split('.')[0] == 'torch' or name.startswith('biasvar.training') for name in sys.modules); "
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert tree(again) == tree(written)


def test_a_pdf_has_the_same_bytes_again(study_run: Run, tmp_path: Path) -> None:
    trees = []
    for place in ("one", "two"):
        write_report([study_run], tmp_path / place, figures=["bias_variance"], formats=["pdf"])
        trees.append(tree(tmp_path / place))
    assert trees[0] == trees[1]
    assert set(trees[0]) == {"bias_variance.pdf", "bias_variance.csv", "claims.csv", "summary.json", "index.html"}


def test_bad_names_need_no_heavy_import() -> None:
    code = (
        "import sys\nfrom biasvar.report.__main__ import main\n"
        "assert main(['--figures', 'acuracy']) == 2\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'pyarrow', 'jinja2', 'torch', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "did you mean 'accuracy'?" in done.stderr


def test_a_recorder_run_shows_what_it_has(recorder_run: Run, tmp_path: Path) -> None:
    write_report(open_runs([recorder_run.directory]), tmp_path / "out", figures=FIGURES, formats=[])
    text = text_of(tmp_path / "out")
    assert "training loop outside this package: 1 arm (kd), 2 replicas, epochs 1 to 3, 30 samples an epoch" in text
    assert (tmp_path / "out" / "shares.csv").exists()
    assert "<li>Bias and variance by arm: needs predictions" in text
    assert 'id="outcome"' not in text  # no claims, no heading over nothing


def test_an_import_shows_what_it_has(imported_run: Run, tmp_path: Path) -> None:
    write_report(open_runs([imported_run.directory]), tmp_path / "out", figures=FIGURES, formats=["svg"])
    text = text_of(tmp_path / "out")
    assert "Finished predictions of 2 arms (plain, sharp), 3 replicas, on 40 test rows" in text
    assert (tmp_path / "out" / "bias_variance.svg").exists()
    assert not (tmp_path / "out" / "bias_variance.png").exists()
    assert "Means over n = 40 test rows, against" in text
    assert "dotted line" not in text
    assert "<li>Regularization samples through training: needs records" in text


def test_two_runs_together(study_run: Run, imported_run: Run, tmp_path: Path) -> None:
    runs = open_runs([study_run.directory, imported_run.directory])
    write_report(runs, tmp_path / "out", figures=["bias_variance", "shares", "curves"], formats=["png"])
    frame = pd.read_csv(tmp_path / "out" / "bias_variance.csv")
    assert frame["run"].unique().tolist() == ["small", "finished"]
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())["runs"]) == ["small", "finished"]
    page = Page(text_of(tmp_path / "out"))
    identities = [value for tag, found in page.tags if (value := found.get("id"))]
    assert len(identities) == len(set(identities))


def test_runs_of_one_name_are_told_apart(study_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(study_run.directory, copy)
    runs = open_runs([study_run.directory, copy, study_run.directory])
    assert [run.name for run in runs] == [f"small ({study_run.directory.name})", "small (copy)"]
    write_report(runs, tmp_path / "out", figures=["curves", "accuracy"], formats=["png"])
    assert set(pd.read_csv(tmp_path / "out" / "accuracy.csv")["run"]) == {run.name for run in runs}


def test_defaults_are_the_newest_run_and_a_folder_in_it(
    study_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "make one with `python -m biasvar.run experiments/digits.yaml`" in capsys.readouterr().err
    shutil.copytree(study_run.directory, tmp_path / "runs" / "new")
    (tmp_path / "runs" / "old").mkdir()
    (tmp_path / "runs" / "old" / "manifest.json").write_text("{}")
    os.utime(tmp_path / "runs" / "old" / "manifest.json", (1, 1))
    assert main(["--figures", "accuracy"]) == 0
    said = capsys.readouterr()
    assert said.out == "runs/new/report/index.html\n"
    assert said.err.startswith("biasvar: note: no run named: this report is on the newest, runs/new\n")
    assert (tmp_path / "runs" / "new" / "report" / "accuracy.png").exists()


def test_failed_replicas_are_named(study_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(study_run.directory, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["arms"]["kd"]["failed_replicas"] = [{"replica": 2, "reason": "at chance"}]
    manifest["status"] = "running"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    write_report(open_runs([copy]), tmp_path / "out", figures=["bias_variance", "accuracy", "curves"], formats=[])
    text = text_of(tmp_path / "out")
    assert "Arm KD: 1 of 4 replicas at chance (2); claims on its students are undecided." in text
    assert "The run is not finished: 8 of 8 arms are complete." in text
    assert text.count("KD, 1 of 4") == 3
    claims = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert set(claims.loc[claims["arms"].str.contains("kd,|kd$"), "overall"]) == {"undecided"}


def _truncate(run: Path) -> str:
    path = sorted(run.glob("predictions/arm=kd/split=test/**/*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:200])
    return "damaged or cut short"


def _newer(run: Path) -> str:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    return "99"


def _gone(run: Path) -> str:
    shutil.rmtree(run)
    return "does not exist"


def _empty(run: Path) -> str:
    (run / "manifest.json").unlink()
    return "has no manifest.json"


@pytest.mark.parametrize("harm", [_truncate, _newer, _gone, _empty])
def test_a_run_that_cannot_be_read_leaves_everything_as_it_was(
    study_run: Run, tmp_path: Path, harm, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "new" / "out"
    shutil.copytree(study_run.directory, run)
    words = harm(run)
    before = tree(tmp_path)
    assert main([str(run), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("biasvar: error: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err
    assert tree(tmp_path) == before
    assert not out.parent.exists()


def test_a_report_that_fails_leaves_the_old_one_whole(study_run: Run, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(study_run.directory, run)
    assert main([str(run), "--out", str(out), "--figures", "accuracy"]) == 0
    (out / "notes.txt").write_text("mine")
    before = tree(out)
    _truncate(run)
    assert main([str(run), "--out", str(out)]) == 2
    assert tree(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--figures", "acuracy"], "no figure named 'acuracy', did you mean 'accuracy'? `"),
        (["--figures", ""], "--figures needs at least one name"),
        (["--formats", "pgn"], "no format named 'pgn', did you mean 'png'? there is: png, svg, pdf"),
        (["--out", "{file}"], "is a file; name a directory"),
    ],
)
def test_bad_options_are_one_line(
    study_run: Run, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("here")
    before = tree(study_run.directory)
    assert main([str(study_run.directory), *(word.format(file=file) for word in arguments)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("biasvar: error: ")
    assert shown.count("\n") == 1
    assert words in shown
    assert tree(study_run.directory) == before
    assert file.read_text() == "here"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": {"kd": None}}, "arms.kd is None, it must be an object"),
        ({"replicas": "x"}, "replicas is 'x', it must be a whole number"),
        ({"claims": []}, "claims is [], it must be an object"),
        ({"claims": {"W1": 3}}, "claims.W1 is 3, it must be a list of objects"),
        ({"claims": {"W1": [{"treatment": 3}]}}, "claims.W1[0].treatment is 3, it must be the name of an arm"),
        ({"seed": None, "num_classes": 3}, "classes"),  # a ValueError from further below
    ],
)
def test_a_manifest_broken_by_hand_is_one_line(
    study_run: Run, tmp_path: Path, changes: dict, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(study_run.directory, run)
    (run / "manifest.json").write_text(json.dumps({**study_run.manifest, **changes}))
    assert main([str(run), "--out", str(tmp_path / "out"), "--figures", "bias_variance"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("biasvar: error: ")
    assert shown.count("\n") == 1
    assert words in shown
    assert "num_classes" in changes or f"{run / 'manifest.json'} is damaged" in shown


def test_an_arm_that_lost_its_predictions_is_named(study_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(study_run.directory, copy)
    assert not [line for line in description.warnings(open_runs([copy])[0]) if "predictions" in line]
    shutil.rmtree(copy / "predictions" / "arm=kd")
    done = report(copy, "--out", tmp_path / "out", "--formats", "png", "--figures", "accuracy")
    assert done.returncode == 0
    assert re.fullmatch(r"Of 2 claims, 2 are undecided\. Open it in a browser: file://\S+\n", done.stderr)
    assert "Arm KD has no predictions: it is missing" in text_of(tmp_path / "out")
    shutil.rmtree(copy / "predictions")
    said = [line for line in description.warnings(open_runs([copy])[0]) if "predictions" in line]
    assert ["No arm has predictions" in line for line in said] == [True]


def test_a_folder_that_cannot_be_made_is_named(study_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(study_run.directory), "--out", "/proc/none/x", "--figures", "curves"]) == 2
    shown = capsys.readouterr().err
    assert "'/proc/none/x'" in shown
    assert ".report-" not in shown


def test_hashed_ids_of_an_svg_are_numbered(tmp_path: Path) -> None:
    trees = []
    for shift in (0.0, 1e-13):  # as the layout's last digits differ between processes
        drawing = style.new_figure(height=2.0)
        drawing.set_layout_engine("none")
        drawing.add_axes((0.1 + shift, 0.1, 0.8, 0.8)).plot([1, 2], [1, 3], "o")
        trees.append(tmp_path / f"{shift}.svg")
        style.save(drawing, trees[-1], "svg")
    first, second = (path.read_text(encoding="utf-8") for path in trees)
    assert first == second
    assert "url(#id" in first
    names = re.findall(r' id="([^"]+)"', first)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', first)) <= set(names)


def test_the_command_line_ends_with_the_status() -> None:
    done = report("no/such/run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "biasvar: error: no/such/run does not exist; name a run directory, as `python -m biasvar.run` makes it\n"
    )


def test_rates_within_one_error_of_the_best_are_named(study_run: Run, written: Path) -> None:
    found = description.rate_table(study_run)
    assert found is not None
    tuning = study_run.tuning
    assert tuning is not None
    for line, (_, part) in zip(found["lines"], tuning.groupby(["family", "arm"], sort=False), strict=True):
        by_rate = part.groupby("learning_rate")["accuracy"]
        mean, error = by_rate.mean(), by_rate.sem()
        near = mean[mean >= mean.max() - error[mean.idxmax()]].index
        chosen = part.loc[part["chosen"], "learning_rate"].unique()
        expected = [rate for rate in near if rate not in chosen]
        assert line["as_good"] == (", ".join(f"{rate:g}" for rate in expected) or "–")
    assert found["few"] == (found["replicas"] < 8)
    ends = [
        chosen for _, part in tuning.groupby("family") if (chosen := part.loc[part["chosen"], "learning_rate"]).any()
    ]
    said = {0.02: "(0.02, the lowest that was tried)", 0.1: "(0.1, the highest that was tried)"}  # of two, each an end
    assert [found["ends"].count(words) for words in said.values()] == [
        sum(one.iloc[0] == rate for one in ends) for rate in said
    ]
    assert found["ends"].startswith("cross entropy (")
    assert html.escape(f"beyond which a better one may lie: {found['ends']}.") in text_of(written)
    by_rate = {0.1: mean_interval([0.5, 0.7]), 0.3: mean_interval([0.55, 0.59]), 1.0: mean_interval([0.1, 0.2])}
    assert description._as_good(by_rate, "accuracy") == [0.1, 0.3]
    assert description._as_good(by_rate, "nll") == [1.0]
