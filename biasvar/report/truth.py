"""People's labels as the truth of a run's test rows, in place of one label a row.

The truth of a row is the share q of the votes for each class. Its risk, the cross-entropy that is expected if the label
is drawn from q, is noise + bias + variance: the entropy of q, KL(q || mean prediction), and a variance that is the same
for every q. Against one label a row noise is 0 and bias the whole rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from biasvar.data.human_labels import PEOPLE, PeopleLabels, load_people
from biasvar.errors import RecordError
from biasvar.messages import no_such
from biasvar.records import Run

if TYPE_CHECKING:
    from biasvar.data import Dataset

JUDGED = ("W1", "W2", "S1", "S2")
"""The claims that are a change of mean bias or variance alone, whose measure asks for no label."""


class PeopleRun(Run):
    """A run whose terms of the clean test rows are taken against people's labels.

    Attributes:
        by_labels: the same run with its own labels as the truth.
        people: people's labels of its test rows.
    """

    def __init__(self, run: Run, people: PeopleLabels) -> None:
        super().__init__(run.directory, {**run.manifest, "name": f"{run.name} by {people.name}"})
        self.by_labels = run
        self.people = people

    @property
    def title(self) -> str:
        """The truth in words: "people's labels (CIFAR-10H)"."""
        return f"people's labels ({PEOPLE[self.people.name].title})"

    def truth(self, sample_ids: np.ndarray) -> np.ndarray:
        """Share of the votes for each class, float64 (N, C)."""
        return self.people.take(sample_ids).soft_labels()


def against_people(run: Run, name: str) -> PeopleRun:
    """The run with people's labels as the truth of its test rows.

    Args:
        run: A study on data that these people labelled, or on features of it, with claims out of `JUDGED`.
        name: "cifar10h" or another of `biasvar.votes.PEOPLE`.

    Raises:
        RecordError: An unknown name, a run without test rows or without such a claim, data or votes that are not at
            hand or not those of the run, or test rows that these people did not label.
    """
    if name not in PEOPLE:
        raise RecordError(no_such(name, list(PEOPLE), "people's labels", limit=None))
    if not any(run.manifest.get("claims", {}).get(claim) for claim in JUDGED):
        raise RecordError(
            f"{run.directory} tests none of the claims {', '.join(JUDGED)}, which are all that can be judged with "
            "people's labels as the truth"
        )
    samples = run.samples
    ids = samples.loc[samples["split"] == "test", "sample_id"].to_numpy()
    if not len(ids):
        raise RecordError(f"{run.directory} has no test rows to take against people's labels")
    try:
        return PeopleRun(run, load_people(name, dataset_of(run)).take(ids))
    except (ValueError, OSError) as error:
        raise RecordError(f"{run.directory} by {name}: {error}") from None


def dataset_of(run: Run) -> Dataset:
    """The data that a study was run on.

    Raises:
        FileNotFoundError, ValueError: It is not at hand, cannot be read, or is not what the run was made with.
    """
    from biasvar.data import load_dataset
    from biasvar.data.crops import CentreCrop
    from biasvar.data.datasets import MODES

    data = run.manifest.get("data") or {}
    place = data.get("path") or data.get("name")
    if not place:
        raise RecordError(f"{run.directory} does not name its data")
    streamed = CentreCrop(**data["streamed"]) if data.get("streamed") else None
    mode = MODES.get(str(data.get("mode")))
    dataset = load_dataset(str(place), size=data.get("size"), mode=mode, streamed=streamed)
    if dataset.fingerprint != data.get("fingerprint"):
        raise RecordError(f"{place} is not the data that {run.directory} was made with: its fingerprint is another")
    return dataset


def by_labels(run: Run) -> Run:
    """The run with its own labels as the truth."""
    return run.by_labels if isinstance(run, PeopleRun) else run


def in_words(run: Run) -> str:
    """What a verdict says of people's labels, with a space before; "" of a run with its own labels."""
    if not isinstance(run, PeopleRun):
        return ""
    features = bool((run.manifest.get("data") or {}).get("features"))
    made = ", the features' pretraining included" if features else ""
    return f", with {run.title} as the truth{made}"


def small_sample_noise(people: PeopleLabels) -> np.ndarray:
    """float64 (N,) nats: what the entropy of few votes lacks on average, (classes named - 1) / (2 votes).

    To first order in 1 / votes (Miller 1955), and too little where classes that some would name were not: 0 where all
    votes agree. A bias against the same shares is too high by as much; a change of bias from arm to arm is linear in
    them, so that few votes do not shift it.
    """
    return ((people.counts > 0).sum(axis=1) - 1) / (2.0 * people.counts.sum(axis=1))
