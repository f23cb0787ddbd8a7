"""Published sets of people's labels: one record each, from which a study's keys and the reading of the file follow.

To add one, add a record to `PEOPLE`. biasvar ships none of the files: each is a NumPy archive `<name>.npz` that is made
from the project's own files by the record's recipe and put into the folder of BIASVAR_DATA (else the cache folder).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class PeopleSource:
    """A published set of people's labels: what it is about, what its file holds, and how to get it.

    Row i of every array of the file is row i of the labelled split in its original order. Other arrays are ignored.

    Attributes:
        title: For captions.
        dataset, dataset_title: Name in biasvar of the data set that was labelled, and its name in print.
        split: The official split that was labelled.
        rows: Of that split.
        class_names: Of the data set, in order.
        project, recipe: GitHub project, and the Python that makes the file from the project's own.
        licence, reference: Of the project, and the paper.
        counts: The array (rows, C) of votes for each class; None where they are counted from `annotators`.
        named: Further hard labels: the name in a study (`votes: NAME`) -> the array (rows,).
        annotators: Those of `named` that are one person's label of every image.
        truth: The array (rows,) of true classes.
        truth_needed: False if the file may lack it.
    """

    title: str
    dataset: str
    dataset_title: str
    split: str
    rows: int
    class_names: tuple[str, ...]
    project: str
    recipe: str
    licence: str
    reference: str
    counts: str | None = None
    named: Mapping[str, str] = field(default_factory=dict)
    annotators: tuple[str, ...] = ()
    truth: str = "labels"
    truth_needed: bool = True

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def needed(self) -> tuple[str, ...]:
        """The arrays that the file must hold."""
        own = (self.counts,) if self.counts else ()
        return (*own, *((self.truth,) if self.truth_needed else ()), *self.named.values())

    @property
    def votes(self) -> tuple[str, ...]:
        """What a study may learn from: the share of `all` votes, the `majority`, or labels that were published."""
        return ("all", "majority", *self.named)


PEOPLE: Mapping[str, PeopleSource] = MappingProxyType(
    {
        "cifar10h": PeopleSource(
            title="CIFAR-10H",
            dataset="cifar10",
            dataset_title="CIFAR-10",
            split="test",
            rows=10_000,
            class_names=CIFAR10,
            project="jcpeterson/cifar-10h",
            recipe="np.savez('cifar10h.npz', counts=np.load('cifar10h-counts.npy'))",
            licence="CC BY-NC-SA 4.0",
            reference="Peterson, Battleday, Griffiths and Russakovsky 2019, Human uncertainty makes classification "
            "more robust",
            counts="counts",
            truth_needed=False,
        ),
        # worse_label: a wrong one of the three where there is one; aggre_label: drawn where all three differ. The
        # project's own file is a pickle: open it only if you trust where it is from.
        "cifar10n": PeopleSource(
            title="CIFAR-10N",
            dataset="cifar10",
            dataset_title="CIFAR-10",
            split="train",
            rows=50_000,
            class_names=CIFAR10,
            project="UCSC-REAL/cifar-10-100n",
            recipe="np.savez('cifar10n.npz', **torch.load('CIFAR-10_human.pt', weights_only=False))",
            licence="CC BY-NC 4.0",
            reference="Wei, Zhu, Cheng, Liu, Niu and Liu 2022, Learning with noisy labels revisited",
            named=MappingProxyType(
                {
                    "random1": "random_label1",
                    "random2": "random_label2",
                    "random3": "random_label3",
                    "aggregate": "aggre_label",
                    "worst": "worse_label",
                }
            ),
            annotators=("random1", "random2", "random3"),
            truth="clean_label",
        ),
    }
)
