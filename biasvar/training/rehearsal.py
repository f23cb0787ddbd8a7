"""A dry run's rehearsal: a step of every teacher and arm of a study, taken by the code that trains it, and timed."""

from __future__ import annotations

import statistics
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from biasvar.errors import BiasvarError, OutOfMemoryError, StudyError
from biasvar.files import write_bytes
from biasvar.progress import SHARE_OF_STEPS, InHand, Progress, tell_into
from biasvar.records import RunWriter
from biasvar.records.schema import method_table_path
from biasvar.seeding import generator
from biasvar.training.checkpoints import weights_file
from biasvar.training.context import StudyContext
from biasvar.training.cost import parameters_of, parameters_of_teacher
from biasvar.training.loop import predict
from biasvar.training.memory import is_out_of_memory, out_of_memory
from biasvar.training.peaks import Peak
from biasvar.training.replicas import Replicas, groups_of
from biasvar.training.schedules import Phase
from biasvar.training.small_study import Steps, rows_of_step, small_context
from biasvar.training.stopwatch import Stopwatch
from biasvar.training.streamed import Streamed
from biasvar.training.students import ArmRun, rehearse_arm
from biasvar.training.teacher_training import train_teacher, write_teacher
from biasvar.training.teachers import teacher_groups, teacher_rows, teacher_weights_path

SLOW = 1.0
"""Seconds: a step that would take longer on the whole batch is taken on `CUT` rows."""
CUT = 8
MOST_STEPS, ENOUGH = 9, 1.0  # steps that are timed at most, and the seconds that they may take together
READ = 16  # streamed images whose reading is timed
BACK_AND_FORTH = 3.0  # a training step in passes of its network, for the choice of a batch alone


@dataclass(frozen=True)
class Kind:
    """Epochs of a training that cost the same.

    Attributes:
        phase: Of the method.
        recorded: The epoch is recorded.
        last: The last one of the kind.
        count: How many there are.
    """

    phase: str
    recorded: bool
    last: int
    count: int


@dataclass(frozen=True)
class Rehearsed:
    """What the rehearsal of a teacher, or of an arm's group of replicas, measured.

    Attributes:
        batch: Rows of the study's batch; `rows` were those of the steps that were taken, of each replica.
        replicas: How many train in one pass.
        seconds: Of a step by kind of epoch, scaled to the whole batch; of a teacher one.
        timed: Steps behind the median.
        parameters: Of one network, without buffers; `bytes` of the weights of all replicas that train together.
        answer: Seconds to ask the network of these replicas, and their own teacher's, about one row.
        peak: Bytes of memory at the highest, scaled to the whole batch.
        checkpoint: Bytes that a checkpoint takes.
        tables: Bytes of the method's tables in the small study, by name.
        drawn: Rows that each replica drew in the small study.
    """

    batch: int
    rows: int
    replicas: int
    seconds: dict[Kind, float]
    timed: int
    parameters: int
    bytes: int
    answer: float
    own_answer: float
    peak: int
    checkpoint: int
    tables: dict[str, int]
    drawn: int

    @property
    def cut(self) -> bool:
        """True where steps were taken on fewer rows than the study's batch has."""
        return self.rows < self.batch


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal measured: of each trained teacher and of each arm, by name.

    `reading`: seconds that an image takes to be read, decoded and cropped, where images are streamed and here; else 0.
    """

    context: StudyContext
    teachers: dict[str, Rehearsed]
    arms: dict[str, Rehearsed]
    resets: bool
    reading: float = 0.0


class _Steps(list[float]):
    """The place that a training tells its steps into: when each began."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__([0.0, 0.0, 0.0])
        self.watch = watch
        self.marks: list[float] = []
        self.first: Callable[[], None] | None = None

    def __setitem__(self, place, value) -> None:  # type: ignore[no-untyped-def]
        if place == 0 and value:
            if not self.marks and self.first is not None:
                self.first()
            self.mark()
        super().__setitem__(place, value)

    def mark(self) -> None:
        self.marks.append(self.watch.now())

    def steps(self) -> list[float]:
        """The seconds of each step until now; it begins anew."""
        self.mark()
        found = np.diff(self.marks).tolist()
        self.marks = []
        return found


def rehearse(context: StudyContext, directory: Path) -> Rehearsal:
    """Take a step of every teacher and of every arm of a study, with their records, evaluation and files.

    Args:
        context: The study's.
        directory: An empty folder, for the run of a small study; see `small_context`.

    Raises:
        StudyError: A step failed; names the teacher or arm.
        OutOfMemoryError: Memory ran out in one; names it.
    """
    study = context.study
    manifest = {
        "kind": "study", "name": study.name, "num_classes": context.dataset.num_classes, "study_hash": study.hash,
        "arms": {name: {} for name in study.arms},
    }  # fmt: skip
    writer = RunWriter(directory, manifest=manifest)
    watch = Stopwatch(context.device, study.threads)
    clock, peak = _Steps(watch), Peak(context.device)
    clock.first = peak.again
    _warm_up(context)
    arms, teachers = _steps(context, watch)
    small = small_context(context, directory, arms, teachers)
    found = Rehearsal(context, {}, {}, resets=True)

    def of_teacher(name: str) -> None:
        if name in teachers:
            found.teachers[name] = _teacher(context, small, writer, name, clock, peak)
        _answers(small, writer, name)

    def of_arm(name: str) -> None:
        teacher = study.scored_against(name)
        if teacher is not None and teacher not in study.teachers and teacher not in small.teacher_tables:
            _answers(small, writer, teacher)
        found.arms[name] = _arm(context, small, writer, name, arms[name], clock, peak)

    ensembles_last = sorted(study.teachers, key=lambda name: study.teachers[name].mean_of is not None)
    pieces = [*(("teacher", name, of_teacher) for name in ensembles_last)]
    pieces += [("arm", name, of_arm) for name in study.order()]
    tell_into(clock)
    try:
        all_of_it = Progress(len(pieces), len(pieces), unit="rehearsals", called="dry run", enough=SHARE_OF_STEPS)
        with warnings.catch_warnings(), all_of_it as shown:
            warnings.simplefilter("ignore")  # of teachers that have not learned
            for kind, name, rehearsed in pieces:
                shown.begin(name, InHand(f"{kind} {name}", 1.0))
                with _naming(context, f"{kind} {name}", f"{kind}s.{name}"):
                    rehearsed(name)
                shown.end(name)
    finally:
        tell_into([0.0, 0.0, 0.0])
    reading = _reading(context)
    ahead = isinstance(context.inputs, Streamed) and context.inputs.ahead
    of_teachers, of_arms = (
        {name: _with_reading(one, reading, ahead=ahead) for name, one in some.items()}
        for some in (found.teachers, found.arms)
    )
    return Rehearsal(context, of_teachers, of_arms, peak.resets, reading)


def _reading(context: StudyContext) -> float:
    """Seconds until the next streamed image is ready, on a few of them; 0 of images in memory."""
    if not isinstance(context.inputs, Streamed):
        return 0.0
    few = np.linspace(0, len(context.train_ids) - 1, READ).astype(int)
    return context.inputs.reading(context.train_ids[few])


def _with_reading(found: Rehearsed, reading: float, *, ahead: bool) -> Rehearsed:
    """Steps and answers with their images, which are read while the step before is taken, or else before each."""
    images = found.batch * found.replicas * reading
    if ahead:
        seconds = {kind: max(took, images) for kind, took in found.seconds.items()}
        return replace(found, seconds=seconds, answer=max(found.answer, reading))
    return replace(
        found, seconds={kind: took + images for kind, took in found.seconds.items()}, answer=found.answer + reading
    )


def _warm_up(context: StudyContext) -> None:
    """A step of a tiny network, so that no step that is measured loads the libraries that the first one does."""
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(1, 1)).to(context.device)
    optimizer = context.optimizer().of_torch(network.parameters())
    network(torch.zeros(1, 1, 3, 3, device=context.device)).sum().backward()
    optimizer.step()


@contextmanager
def _naming(context: StudyContext, who: str, place: str) -> Iterator[None]:
    """Errors of a step with the name of whose it is."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            said = out_of_memory(error, context.study, context.directory, context.device, 1)
            raise OutOfMemoryError(f"{who}: {said}") from error
        if isinstance(error, OSError):
            raise
        if isinstance(error, BiasvarError | ValueError) and any(name in str(error) for name in (place, who)):
            raise  # it says itself whose it is
        if isinstance(error, BiasvarError):
            raise type(error)(f"{place}: {error}") from error
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise StudyError(f"{place}: its step failed with {what} ({frame.filename}, line {frame.lineno})") from error


def _steps(context: StudyContext, watch: Stopwatch) -> tuple[dict[str, Steps], dict[str, Steps]]:
    """The steps that arms and trained teachers are measured by: fewer rows and steps of those that are slow."""
    study = context.study
    passes = _Passes(context, watch)
    replicas = study.replicas if study.backend == "batched" else 1
    expected: dict[str, float] = {}
    for name, arm in study.arms.items():
        teacher = study.scored_against(name)
        of_teacher = passes.of_teacher(teacher) if teacher and (context.inputs.augmented or ":" in arm.loss) else 0.0
        with _naming(context, f"arm {name}", f"arms.{name}"):
            joint = BACK_AND_FORTH * sum(passes.of_model(model) for model in arm.models)
            expected[name] = replicas * (BACK_AND_FORTH * passes.of_arm(name) + of_teacher + joint)
    whole = {name: rows_of_step(context, name) for name in study.arms}
    cut = context.device.type == "cpu" and any(expected[name] * whole[name][0] > SLOW for name in study.arms)
    arms = {
        name: _as_many(min(batch, CUT) if cut else batch, rows, expected[name]) for name, (batch, rows) in whole.items()
    }
    teachers = {}
    for name, teacher_settings in study.teachers.items():
        if not teacher_settings.is_trained:
            continue
        count = replicas if study.teacher_count(name) > 1 else 1
        a_row = count * BACK_AND_FORTH * passes.of_teacher(name)
        rows = teacher_rows(context, name, [0]).ids.shape[1]
        batch = min(teacher_settings.batch_size, rows)
        slow = context.device.type == "cpu" and a_row * batch > SLOW
        teachers[name] = _as_many(min(batch, CUT) if slow else batch, rows, a_row)
    return arms, teachers


def _as_many(batch: int, rows: int, seconds_a_row: float) -> Steps:
    """One step, and as many more of an epoch as are done in a moment."""
    quick = int(ENOUGH / max(batch * seconds_a_row, 1e-9))
    return Steps(batch, max(1, min(MOST_STEPS, quick, rows // batch)))


class _Passes:
    """Seconds that a network's pass takes by the row, on a few rows: to tell slow networks from quick ones."""

    def __init__(self, context: StudyContext, watch: Stopwatch) -> None:
        self._context, self._watch = context, watch
        self._known: dict[str, float] = {}
        self._x = context.inputs.clean(torch.as_tensor(context.train_ids[:CUT], device=context.device))

    def of_arm(self, name: str) -> float:
        network = self._context.study.arms[name].student or self._context.study.student
        return self._seconds(network.in_words(), lambda: self._context.student(network, "init", 0))

    def of_teacher(self, name: str) -> float:
        """Of a teacher's network, of all of an ensemble's together, or of a student that teaches."""
        teacher = self._context.study.teachers.get(name)
        if teacher is None:
            return self.of_arm(name)
        if teacher.mean_of:
            return sum(map(self.of_teacher, teacher.mean_of))
        return self.of_model(teacher.model, teacher.hidden) if teacher.is_network else 0.0

    def of_model(self, model: str, hidden: Sequence[int] = ()) -> float:
        if model == "mlp" and not hidden:
            return 0.0
        return self._seconds(f"{model} {hidden}", lambda: self._context.model(model, hidden, "teacher init", 0))

    @torch.no_grad()
    def _seconds(self, key: str, make: Callable[[], nn.Module]) -> float:
        if key not in self._known:
            network = make().eval()
            network(self._x[:1])
            self._known[key] = min(self._watch.took(lambda: network(self._x)) for _ in range(2)) / len(self._x)
        return self._known[key]


def _scaled(times: Sequence[float], rows: int, batch: int) -> float:
    """The median seconds of steps, without the first where there are others, scaled from `rows` to a batch."""
    return statistics.median(times[1:] or times) * (batch / rows)


def _scaled_peak(peak: int, built: int, weights: int, slots: int, rows: int, batch: int) -> int:
    """Bytes at the highest with a whole batch: what was built, gradients and the optimiser's slots stay as they are."""
    fixed = built + weights * (1 + slots)
    return fixed + int(max(0, peak - fixed) * batch / rows)


def _teacher(
    context: StudyContext, small: StudyContext, writer: RunWriter, name: str, clock: _Steps, peak: Peak
) -> Rehearsed:
    """The rehearsal of a teacher, or of those of its networks that train together."""
    teacher = context.study.teachers[name]
    group = teacher_groups(small, name)[0]
    times: list[float] = []
    peaks: list[int] = []

    def trained(net: Replicas, epoch: int) -> None:
        times.extend(clock.steps())
        peaks.append(peak.highest())

    peak.begin()
    net = train_teacher(small, name, group, trained)
    path = teacher_weights_path(writer.directory, name, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, weights_file(net, group))
    whole = teacher_rows(context, name, [0]).ids.shape[1]
    drawn = teacher_rows(small, name, group).ids.shape[1]
    batch, rows = min(teacher.batch_size, whole), min(small.study.teachers[name].batch_size, drawn)
    weights = _bytes_of(net.parameters())
    return Rehearsed(
        batch=batch, rows=rows, replicas=len(group),
        seconds={Kind("", False, 1, teacher.stop or teacher.epochs): _scaled(times, rows, batch)}, timed=len(times),
        parameters=parameters_of_teacher(context, name), bytes=weights,
        answer=_answer(small, net, clock.watch), own_answer=0.0,
        peak=_scaled_peak(peaks[0], weights, weights, _slots(context), rows, batch),
        checkpoint=0, tables={}, drawn=drawn,
    )  # fmt: skip


def _answers(small: StudyContext, writer: RunWriter, name: str) -> None:
    """Write what a teacher says of the samples; made logits for one whose file is by sample id."""
    teacher = small.study.teachers.get(name)
    if teacher is None or teacher.logits is None:
        write_teacher(small, writer, name)
        return
    ids = small.used_ids
    logits = generator(0, "made logits").normal(size=(len(ids), small.dataset.num_classes))
    writer.teacher(name, ids, logits.astype(np.float32), np.zeros(len(ids), dtype=bool))


def _arm(
    context: StudyContext, small: StudyContext, writer: RunWriter, name: str, steps: Steps, clock: _Steps, peak: Peak
) -> Rehearsed:
    """The rehearsal of the first group of an arm's replicas."""
    study = context.study
    arm, rate = study.arms[name], study.learning_rate
    group = groups_of(study.backend, range(small.study.replicas))[0]
    times: list[list[float]] = []
    peaks: list[int] = []
    built: list[int] = []
    kinds: list[Kind] = []

    def begin(phases: Sequence[Phase]) -> list[tuple[int, int]]:
        built.append(peak.above())
        assert arm.record is not None  # written out when the study was resolved
        kinds.extend(kinds_of_epochs(phases, arm.record.selected(study.schedule.epochs)))
        return [(kind.last - 1, kind.last) for kind in kinds]

    def trained() -> None:
        times.append(clock.steps())
        peaks.append(peak.highest())

    needed = any(name in study.uses(other) for other in study.arms)  # the record of all rows
    peak.begin()
    clock.marks = []
    students = rehearse_arm(
        ArmRun(writer, small, name, rate.value or rate.grid[0]), group, begin, trained,
        rows=None if needed else steps.rows,
    )  # fmt: skip
    whole, _ = rows_of_step(context, name)
    rows = min(small.study.schedule.batch_size, students.rows.ids.shape[1])
    weights = _bytes_of(students.net.parameters())
    own = arm.own_teacher
    return Rehearsed(
        batch=whole, rows=rows, replicas=len(group),
        seconds={kind: _scaled(one, rows, whole) for kind, one in zip(kinds, times, strict=True)},
        timed=max(1, len(times[0]) - 1), parameters=parameters_of(context, name), bytes=weights,
        answer=_answer(small, students.net, clock.watch),
        own_answer=clock.watch.took(lambda: students.objective.clean(small.inputs, _few(small), len(group))) / CUT
        if own
        else 0.0,
        peak=_scaled_peak(max(peaks), built[0], weights, _slots(context), rows, whole),
        checkpoint=_bytes_of(students.state()),
        tables={
            table: method_table_path(writer.directory, table, name, 0).stat().st_size
            for table in small.study.tables_of(name)
        },
        drawn=small.rows([0]).ids.shape[1],
    )  # fmt: skip


def kinds_of_epochs(phases: Sequence[Phase], recorded: set[int]) -> list[Kind]:
    """The kinds of epochs of a training, by phase and by whether they are recorded, in the order of their last ones.

    >>> kinds_of_epochs([Phase("search", 2), Phase("train", 3)], {1, 2, 5})
    [Kind(phase='search', recorded=True, last=2, count=2), Kind(phase='train', recorded=False, last=4, count=2), \
Kind(phase='train', recorded=True, last=5, count=1)]
    """
    names = [phase.name for phase in phases for _ in range(phase.epochs)]
    found: dict[tuple[str, bool], list[int]] = {}
    for epoch, name in enumerate(names, start=1):
        found.setdefault((name, epoch in recorded), []).append(epoch)
    kinds = [Kind(name, kept, epochs[-1], len(epochs)) for (name, kept), epochs in found.items()]
    return sorted(kinds, key=lambda kind: kind.last)


def _few(small: StudyContext) -> torch.Tensor:
    """Ids of `CUT` samples, some of them twice where there are fewer."""
    return torch.as_tensor(np.resize(small.used_ids, CUT), device=small.device)


def _answer(small: StudyContext, net: Replicas, watch: Stopwatch) -> float:
    """Seconds in which replicas answer to one row: on few rows, and where that is quick on many."""
    few = _few(small)
    predict(net, small.inputs, few)
    took = watch.took(lambda: predict(net, small.inputs, few))
    many = few.repeat(max(1, min(512, int(0.1 / max(took, 1e-9)))))
    if len(many) > len(few):
        took = watch.took(lambda: predict(net, small.inputs, many))
    return took / len(many)


def _bytes_of(tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())


def _slots(context: StudyContext) -> int:
    """How many numbers an optimiser keeps of each parameter."""
    return len(context.optimizer().kept)
