"""biasvar in torchdistill: importing this module registers ids, records and losses by key (docs/torchdistill.md)."""

from __future__ import annotations

import warnings
from typing import Any

from biasvar.integrations import torchdistill_terms as terms
from biasvar.training.recorder import Recorder

try:
    from torchdistill.core.interfaces import post_epoch_proc, pre_epoch_proc, registry
    from torchdistill.datasets.registry import register_dataset_wrapper
    from torchdistill.datasets.wrapper import BaseDatasetWrapper
    from torchdistill.losses import registry as losses
    from torchdistill.losses.high_level import WeightedSumLoss
except (ImportError, RuntimeError) as error:  # a torchvision of another build than torch's is a RuntimeError
    raise ImportError(f"{error}: pip install 'biasvar[torchdistill]', and torch's own build of torchvision") from None

for _name, _term in terms.TERMS.items():
    losses.register_mid_level_loss(key=f"biasvar.{_name}")(_term)


@register_dataset_wrapper(key="biasvar.sample_ids")
class SampleIds(BaseDatasetWrapper):
    """(sample, target, {"sample_id": i}) of a data set of pairs; rows of a Subset keep their number in the whole."""

    def __getitem__(self, index: int) -> tuple[Any, Any, dict[str, int]]:
        sample, target = self.org_dataset[index]
        return sample, target, {terms.SAMPLE_ID: terms.row_in_whole(self.org_dataset, index)}


@losses.register_func2extract_model_output(key="biasvar.sample_ids")
def sample_ids(student_outputs: Any, targets: Any, supp_dict: Any = None, **_: Any) -> dict[str, Any]:
    """The batch's ids (B,) on their way to `RecordedLoss`, in the place of losses that the student itself returned."""
    if terms.SAMPLE_ID not in (supp_dict or {}):
        raise ValueError("no ids in the batch: train_data_loader needs dataset_wrapper: {key: biasvar.sample_ids}")
    return {terms.SAMPLE_ID: supp_dict[terms.SAMPLE_ID]}


@losses.register_high_level_loss(key="biasvar.RecordedLoss")
class RecordedLoss(WeightedSumLoss):
    """torchdistill's weighted sum of terms; `recorder`, the arguments of `biasvar.Recorder`, says where to record."""

    def __init__(self, recorder: dict[str, Any], **model_and_sub_terms: Any) -> None:
        super().__init__(**model_and_sub_terms)
        self.recorder, self.rows = Recorder(**terms.of_this_process(recorder)), 0

    def forward(self, io_dict: dict[str, Any], model_loss_dict: dict[str, Any], targets: Any) -> Any:
        ids = model_loss_dict.pop(terms.SAMPLE_ID, None)  # now, or model_term would add them to the loss
        if ids is None:
            raise ValueError("biasvar.RecordedLoss needs criterion: func2extract_model_loss: biasvar.sample_ids")
        self.rows += len(ids)
        if self.rows >= 2 * self.recorder.num_samples:
            raise ValueError("two epochs went by unrecorded: train needs post_epoch_process: biasvar.end_epoch")
        student = terms.logits_of(io_dict["student"], "student")
        teacher = terms.logits_of(io_dict["teacher"], "teacher") if io_dict["teacher"] else None
        io_dict["student"][terms.SAMPLE_ID] = note = {"output": ids, "loss_weight": None}  # which a term may fill in
        loss = super().forward(io_dict, model_loss_dict, targets)
        self.recorder.update(ids, student, targets, teacher, loss_weight=note["loss_weight"])
        return loss


@registry.register_pre_epoch_proc_func(key="biasvar.teacher_eval")
def teacher_eval(box: Any, **options: Any) -> None:
    """What torchdistill does before an epoch, and the teacher in eval mode, where torchdistill never puts it."""
    pre_epoch_proc.default_pre_epoch_process_with_teacher(box, **options)
    box.teacher_model.eval()


@registry.register_post_epoch_proc_func(key="biasvar.end_epoch")
def end_epoch(box: Any, **options: Any) -> None:
    """Write the epoch's record, then do what torchdistill does after an epoch, with a teacher or without."""
    if not isinstance(box.criterion, RecordedLoss):
        raise TypeError("post_epoch_process: biasvar.end_epoch needs criterion: {key: biasvar.RecordedLoss}")
    if (teacher := getattr(box, "teacher_model", None)) is not None and teacher.training:
        warnings.warn(terms.TRAIN_MODE, stacklevel=2)
    terms.end_epoch(box.criterion.recorder, box)
    box.criterion.rows = 0
    getattr(post_epoch_proc, f"default_post_epoch_process_with{'out' * (teacher is None)}_teacher")(box, **options)
