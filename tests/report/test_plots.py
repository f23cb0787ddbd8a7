"""The figures of the report as functions: from a run, from its frame or from a CSV to axes that pyplot shows."""

from __future__ import annotations

import importlib
import inspect
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import biasvar
from biasvar import plots
from biasvar.errors import RecordError
from biasvar.records import Run
from biasvar.report import style
from biasvar.report.figures import FIGURES, load
from biasvar.report.output import write_table
from biasvar.report.pictures import with_pictures

PUBLISHED = Path(__file__).parents[2] / "figures"
OF_RUNS = {
    "study_run": ("methods", "accuracy", "bias_variance", "effects", "changes", "flags", "curves", "gallery",
                  "gradients", "indicators", "temperatures"),
    "imported_run": ("term_histograms", "bias_against_variance", "data_map", "reliability", "by_class"),
    "recorder_run": ("data_map", "weights"),
}  # fmt: skip
"""Figures that the fixtures' runs hold enough for."""
CASES = [(run, name) for run, names in OF_RUNS.items() for name in names]


def published(name: str) -> list[Path]:
    """The CSV files of a figure that are published and have its columns, from the smallest."""
    columns = set(getattr(importlib.import_module(load(name).draw.__module__), "COLUMNS", ["run"]))
    found = sorted(PUBLISHED.rglob(f"{name}.csv"), key=lambda path: path.stat().st_size)
    return [path for path in found if columns <= set(pd.read_csv(path, nrows=0).columns)]


CSV = {name: found[0] for name in FIGURES if (found := published(name))}


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Pyplot's settings are as before when a test ends, and its figures are closed."""
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


def panels(axes: Any) -> list[Any]:
    return list(axes) if isinstance(axes, np.ndarray) else [axes]


def picture(axes: Any) -> bytes:
    made = io.BytesIO()
    panels(axes)[0].figure.figure.savefig(made, format="png", dpi=50)
    return made.getvalue()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_function_that_says_what_it_needs(name: str) -> None:
    function = getattr(plots, name)
    assert function is getattr(plots, name)
    assert function.__name__ == name
    assert name in dir(plots)
    assert name in plots.__all__
    figure = load(name)
    said = " ".join(function.__doc__.split())
    assert said.startswith(figure.title)
    assert " ".join(figure.needs.split()) in said
    assert max(map(len, function.__doc__.splitlines())) <= 120


def test_most_figures_have_a_csv() -> None:
    assert len(CSV) > 20  # those that a report of this version would write


@pytest.mark.parametrize("name", list(CSV))
def test_a_reports_csv_is_drawn(name: str) -> None:
    axes = getattr(plots, name)(pd.read_csv(CSV[name]))
    assert any(ax.has_data() for ax in panels(axes))
    assert plt.get_fignums() == [panels(axes)[0].figure.figure.number]


@pytest.mark.parametrize(("run", "name"), CASES)
def test_run_and_frame_give_the_same_picture(run: str, name: str, request: pytest.FixtureRequest) -> None:
    opened: Run = request.getfixturevalue(run)
    axes = getattr(plots, name)(opened)
    assert any(ax.has_data() for ax in panels(axes))
    with style.context():
        frame = load(name).collect([opened])
    again = getattr(plots, name)(frame)
    assert len(panels(again)) == len(panels(axes))
    assert picture(again) == picture(axes)
    assert len(plt.get_fignums()) == 2


def test_a_csv_without_arms_is_drawn(study_run: Run, tmp_path: Path) -> None:
    frame = load("indicators").collect([study_run])
    write_table(tmp_path, "indicators", frame)
    drawn, whole = plots.indicators(pd.read_csv(tmp_path / "indicators.csv")), plots.indicators(study_run)
    for one, other in zip(drawn, whole, strict=True):
        assert one.get_title("left") == other.get_title("left")
        for line, same in zip(one.lines, other.lines, strict=True):  # a CSV has ten digits
            np.testing.assert_allclose(line.get_xydata(), same.get_xydata(), rtol=1e-8, atol=1e-12)


def test_the_report_imports_no_pyplot_and_the_package_no_matplotlib() -> None:
    code = "import sys, biasvar; print('matplotlib' in sys.modules); dir(biasvar.plots); biasvar.plots.accuracy\n"
    code += "print('matplotlib.pyplot' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split()[0] == "False"


def test_arms_restrict_what_is_shown(study_run: Run) -> None:
    axes = plots.gradients(study_run, arms=["kd"])
    assert all(ax.get_ylabel() in ("KD", "") for ax in axes)
    assert axes[0].get_ylabel() == "KD"
    both = plots.gradients(study_run)
    assert len(both) == 2 * len(axes)
    other = plots.gradients(study_run, "wsl")  # which the report does not show
    assert other[0].get_ylabel() == "WSL"
    names = [label.get_text() for label in panels(plots.accuracy(study_run, arms=("kd", "ls")))[0].get_yticklabels()]
    assert [name for name in names if name] == ["LS", "KD"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arm": "kdd"}, "run small: no arm named 'kdd', did you mean 'kd'? there is: ce, ls, kd_t2"),
        ({"arms": ["kd", "x"]}, "run small: no arm named 'x'; there is: ce, "),
        ({"arm": "kd", "arms": ["ce"]}, "give arm or arms, not both"),
        ({"arms": []}, "arms must be names of arms"),
        ({"arm": 3}, "arm must be names of arms, not 3"),
    ],
)
def test_arms_that_are_not_there(study_run: Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        plots.accuracy(study_run, **options)
    assert plt.get_fignums() == []


def test_an_arm_that_a_figure_does_not_show(study_run: Run) -> None:
    frame = pd.read_csv(CSV["flags"])
    with pytest.raises(ValueError, match=r"flags does not show arm 'ce'; it shows kd"):
        plots.flags(frame, "ce")
    kept = plots.flags(frame, str(frame["arm"].iloc[0]))
    assert not isinstance(kept, np.ndarray)  # one panel


def test_an_arm_looks_as_among_all_and_one_that_makes_no_figure_alone_is_refused() -> None:
    frame = pd.read_csv(PUBLISHED / "converged" / "ablations" / "ablations.csv")
    for arm in ("kd_t1", "wsl_t8"):  # their lines look like the arm at the reference temperature
        assert any(ax.lines for ax in panels(plots.ablations(frame, arm)))
    with pytest.raises(ValueError, match="ablations cannot be drawn of arm ls alone"):
        plots.ablations(frame, "ls")
    assert len(plt.get_fignums()) == 2


def test_what_a_run_lacks_is_said(study_run: Run, imported_run: Run) -> None:
    with pytest.raises(RecordError, match=r"data_map of run small: needs a record of your own loop"):
        plots.data_map(study_run)
    with pytest.raises(RecordError, match=r"gradients of run finished: needs a record of the training pass"):
        plots.gradients(imported_run)


def test_sources(study_run: Run, tmp_path: Path) -> None:
    by_run = plots.accuracy(study_run)
    by_path = plots.accuracy(str(study_run.directory))
    assert picture(by_path) == picture(by_run)
    assert len(panels(plots.bias_variance([study_run, study_run.directory]))) >= 2
    with pytest.raises(FileNotFoundError, match="does not exist"):
        plots.accuracy(tmp_path / "nowhere")
    for wrong in (3, [study_run, 4], np.zeros(3)):
        with pytest.raises(ValueError, match="source must be a run, its directory, a list of these, or the figure's"):
            plots.accuracy(wrong)
    with pytest.raises(ValueError, match="source holds no run"):
        plots.accuracy([])


def test_a_frame_of_another_figure_is_refused() -> None:
    frame = pd.read_csv(CSV["flags"])
    with pytest.raises(ValueError, match=r"this is not the frame of training: it lacks rows, term, .*training\.csv"):
        plots.training(frame)
    with pytest.raises(ValueError, match=r"the frame of flags has no rows"):
        plots.flags(frame[:0])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_lists_its_columns(name: str) -> None:
    assert "run" in importlib.import_module(load(name).draw.__module__).COLUMNS


@pytest.mark.parametrize("name", ["ablations", "temperatures", "methods"])
def test_frames_without_a_column_are_refused_by_its_name(name: str) -> None:
    frame = pd.read_csv(CSV[name])
    for column in ("arm", "estimate", "low"):
        with pytest.raises(ValueError, match=f"this is not the frame of {name}: it lacks {column};"):
            getattr(plots, name)(frame.drop(columns=column))
    assert plt.get_fignums() == []


@pytest.mark.filterwarnings("error")
def test_frames_of_a_few_rows_are_drawn_or_refused_in_one_line(study_run: Run, tmp_path: Path) -> None:
    """What is compared with nothing has no text in a column that pandas then reads as numbers."""
    frame = load("accuracy").collect([study_run])
    frame[(frame["arm"] == "ce") & (frame["against"] == "")].to_csv(tmp_path / "ce.csv", index=False)
    alone = pd.read_csv(tmp_path / "ce.csv")
    assert alone["against"].isna().all()
    assert [ax.get_title("left") for ax in plots.accuracy(alone)] == ["Accuracy", "Loss (NLL)", "Calibration error"]
    for name in ("bias_variance", "by_class", "views"):
        drawn = panels(getattr(plots, name)(pd.read_csv(CSV[name]).head(1)))
        assert any(ax.has_data() for ax in drawn)
    rows = pd.read_csv(CSV["temperatures"])
    for arm in rows["arm"].unique():
        assert len(panels(plots.temperatures(rows[rows["arm"] == arm]))) == 4
    rows = pd.read_csv(PUBLISHED / "converged" / "ablations" / "ablations.csv")
    with pytest.raises(ValueError, match=r"ablations cannot be drawn of this frame: rows .* a report's ablations\.csv"):
        plots.ablations(rows[rows["arm"] == "ls"])


def test_a_run_stays_as_it_was(imported_run: Run) -> None:
    before = repr(imported_run.manifest)
    plots.bias_variance(imported_run)
    assert repr(imported_run.manifest) == before


def test_texts_that_a_csv_marks_are_drawn_as_they_were(imported_run: Run, tmp_path: Path) -> None:
    with style.context():
        frame = load("data_map").collect([imported_run])
    frame["label"] = "-=sharp"
    write_table(tmp_path, "data_map", frame)
    axes = plots.data_map(pd.read_csv(tmp_path / "data_map.csv"))
    assert "-=sharp" in panels(axes)[0].get_title(loc="left")


def test_axes_of_ones_own(imported_run: Run) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    right.plot([0, 1], [0, 1])
    assert plots.data_map(imported_run, "plain", ax=left) is left
    alone = plots.data_map(imported_run, "plain")
    np.testing.assert_array_equal(left.collections[-1].get_offsets(), alone.collections[-1].get_offsets())
    assert [left.get_xlabel(), left.get_ylabel(), left.get_title("left")] == [
        "standard deviation of that probability (variability)",
        "mean probability of the true class (confidence)",
        alone.get_title("left"),
    ]
    assert figure.axes[:2] == [left, right]  # and a colour bar
    assert len(right.lines) == 1
    figure.draw_without_rendering()
    assert left.get_window_extent().x1 < right.get_window_extent().x0
    assert plt.get_fignums() == [figure.number, alone.figure.number]


def test_legends_of_axes_of_ones_own_are_inside_the_picture() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(12, 5))
    plots.methods(pd.read_csv(CSV["methods"]), ax=axes[1])
    legend = axes[1].get_legend()
    figure.draw_without_rendering()
    assert len(legend.get_texts()) >= 3
    assert legend.get_window_extent().y0 >= 0
    assert axes[1].get_window_extent().width > 300
    assert legend.get_window_extent().y1 < axes[1].xaxis.label.get_window_extent().y0
    assert [label.get_text() for label in axes[0].texts] == []


def test_axes_that_no_drawing_fits_in_stay_empty(imported_run: Run) -> None:
    _, ax = plt.subplots()
    with pytest.raises(
        ValueError, match=r"bias_variance has 2 panels here, and ax takes a drawing of one; leave ax out"
    ):
        plots.bias_variance(imported_run, ax=ax)
    assert not ax.has_data()
    assert not ax.texts
    assert plt.get_fignums() == [ax.figure.number]
    with pytest.raises(ValueError, match=r"ax must be axes, as pyplot\.subplots makes them, not int"):
        plots.data_map(imported_run, ax=3)
    with pytest.raises(ValueError, match=r"ax must be axes, .* not ndarray"):
        plots.data_map(imported_run, ax=plt.subplots(1, 2)[1])
    ax.remove()
    with pytest.raises(ValueError, match="ax was removed from its figure"):
        plots.data_map(imported_run, ax=ax)


def test_a_users_settings_do_not_change_a_figure(imported_run: Run) -> None:
    plain = picture(plots.data_map(imported_run))
    with mpl.rc_context({"axes.grid": True, "grid.color": "red", "xtick.color": "green", "axes.facecolor": "black"}):
        drawn = plots.data_map(imported_run)
    assert picture(drawn) == plain


def test_a_notebook_is_told_of_a_figure(imported_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    interactive = []
    made = plt.figure
    monkeypatch.setattr(plt, "figure", lambda **size: interactive.append(plt.isinteractive()) or made(**size))
    with plt.ion():
        plots.data_map(imported_run)  # inline, only what is made in interactive mode is shown after the cell
    plots.data_map(imported_run)
    assert interactive == [True, False]


def test_what_a_backend_sets_when_it_is_loaded_stays_set() -> None:
    code = (
        "import sys, types, matplotlib.backends.backend_agg as agg\n"
        "backend = types.ModuleType('loaded_late')\n"
        "backend.__dict__.update({k: v for k, v in vars(agg).items() if not k.startswith('__')})\n"
        "import importlib.abc, importlib.machinery, matplotlib, pandas\n"
        "class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, *_):\n"
        "        return importlib.machinery.ModuleSpec(name, self) if name == 'loaded_late' else None\n"
        "    def create_module(self, spec): return backend\n"
        "    def exec_module(self, module): matplotlib.interactive(True)\n"
        "sys.meta_path.insert(0, Loader())\n"
        "matplotlib.rcParams['backend'] = 'module://loaded_late'\n"
        "import biasvar\n"
        "frame = pandas.DataFrame({'arm': ['KD'], 'estimate': [0.1], 'low': [0.0], 'high': [0.2]})\n"
        "biasvar.plots.forest(frame)\n"
        "print(matplotlib.is_interactive())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_samples_with_images(imported_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((40, 8, 8)))
    axes = plots.strongest(with_pictures(imported_run, str(tmp_path / "images.npy"), ["test"]))
    assert any(ax.get_images() for ax in axes)
    again = plots.strongest(imported_run, images=tmp_path / "images.npy")
    assert picture(again) == picture(axes)
    with pytest.raises(ValueError, match="images must be a path or the name of a data set, not int"):
        plots.strongest(imported_run, images=3)


def test_people_as_the_truth_are_named(study_run: Run) -> None:
    with pytest.raises(RecordError, match="no people's labels named 'cifar10'"):
        plots.truth(study_run, people="cifar10")
    with pytest.raises(ValueError, match="people must be the name of people's labels, not int"):
        plots.truth(study_run, people=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'people'"):
        plots.accuracy(study_run, people="cifar10h")
    assert list(inspect.signature(plots.strongest).parameters) == ["source", "arm", "arms", "images", "ax"]
    assert list(inspect.signature(plots.truth).parameters) == ["source", "people", "ax"]


FRAME = pd.DataFrame(
    {"arm": ["KD", "KD", "WSL", "WSL"], "epoch": [1, 2, 1, 2], "estimate": [0.4, 0.3, 0.5, 0.2],
     "low": [0.3, 0.2, 0.4, np.nan], "high": [0.5, 0.4, 0.6, np.nan]}
)  # fmt: skip


def test_marks_draw_what_the_frame_holds() -> None:
    ax = plots.forest(FRAME[FRAME["epoch"] == 2], reference=0.0, xlabel="bias (nats)")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["KD", "WSL"]
    assert ax.get_xlabel() == "bias (nats)"
    dots = np.concatenate([np.asarray(one.get_offsets())[:, 0] for one in ax.collections if len(one.get_offsets()) > 1])
    np.testing.assert_allclose(sorted(dots), [0.2, 0.3])
    assert ax.get_legend() is None
    coloured = plots.forest(FRAME.assign(at=FRAME["epoch"].astype(str)), by="at")
    assert [text.get_text() for text in coloured.get_legend().get_texts()] == ["1", "2"]
    ax = plots.lines(FRAME, ylabel="bias (nats)")
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [[0.4, 0.3], [0.5, 0.2]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["KD", "WSL"]
    ax = plots.scatter(FRAME, x="epoch", y="estimate", by="arm", low="low", high="high")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "estimate")
    assert len(plt.get_fignums()) == 4


def test_images_stand_under_their_titles() -> None:
    grey, coloured = np.arange(12.0).reshape(3, 4), np.zeros((3, 3, 3))
    axes = plots.images([grey, coloured, grey], titles=["a", "b", "c"], abreast=2)
    assert [ax.get_title(loc="left") for ax in axes] == ["a", "b", "c"]
    np.testing.assert_array_equal(axes[2].get_images()[0].get_array(), grey)
    assert len(axes[0].figure.figure.axes) == 3
    for wrong, said in (
        ({"pictures": []}, "pictures holds none"),
        ({"pictures": [grey], "titles": ["a", "b"]}, "there are 1 pictures and 2 titles"),
        ({"pictures": [grey], "abreast": 0}, "abreast must be at least 1, not 0"),
        ({"pictures": [np.zeros(3)]}, r"picture 0 must be numbers \(H, W\), .*not \(3,\)"),
    ):
        with pytest.raises(ValueError, match=said):
            plots.images(**wrong)


def test_marks_on_axes_of_ones_own() -> None:
    _, given = plt.subplots(3, 1)
    assert plots.forest(FRAME, ax=given[0]) is given[0]
    assert plots.lines(FRAME, ax=given[1]) is given[1]
    assert plots.scatter(FRAME, x="epoch", y="estimate", ax=given[2]) is given[2]
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="low"), "frame: no column named 'low'"),
        (lambda frame: frame[:0], "frame has no rows"),
        (lambda frame: frame.assign(high="x"), "column 'high' must hold numbers, not x, x, x"),
        (lambda frame: frame.to_dict(), "frame must be a pandas DataFrame, not dict"),
    ],
)
def test_marks_refuse_frames_by_name(change: Any, said: str) -> None:
    for mark in (plots.forest, plots.lines):
        with pytest.raises(ValueError, match=said):
            mark(change(FRAME))
    assert plt.get_fignums() == []


def test_names_that_are_no_plot() -> None:
    with pytest.raises(AttributeError, match="no plot named 'acuracy', did you mean 'accuracy'"):
        biasvar.plots.acuracy  # noqa: B018
