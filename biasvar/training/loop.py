"""The training loop: every student and every teacher is trained by these lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch

from biasvar.data.draws import Rows
from biasvar.progress import tell
from biasvar.seeding import generator
from biasvar.training.companions import Companions, Features
from biasvar.training.inputs import Inputs
from biasvar.training.methods.base import Batch, Step, mean_over_rows
from biasvar.training.networks import draw_from
from biasvar.training.objective import Objective
from biasvar.training.ranks import ONE, Ranks, share_of
from biasvar.training.replicas import Replicas
from biasvar.training.schedules import Phase


def train(
    replicas: Replicas,
    rows: Rows,
    objective: Objective,
    inputs: Inputs,
    labels: torch.Tensor,
    *,
    epochs: int,
    batch_size: int,
    rate_of: Callable[[int, int], float],
    seed: int,
    arm: str = "",
    start: int = 0,
    score_epochs: Collection[int] = (),
    companions: Companions | None = None,
    phases: Sequence[Phase] = (),
    ranks: Ranks = ONE,
    on_batch: Callable[[Batch, torch.Tensor | None], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> None:
    """Train a group of replicas for `epochs` epochs, the first being `start` + 1.

    Args:
        replicas: The networks.
        rows: Their training rows.
        objective: The loss.
        inputs: What the network is given, by sample id.
        labels: int (N,) by sample id, on the device.
        epochs, batch_size: Of the schedule; the last batch of an epoch may be smaller.
        rate_of: The learning rate of a step, from the steps taken before and the steps of an epoch.
        seed: Of the study: with the replica and the epoch it gives the batch order.
        arm: Adds to the seed of what is random in one arm only (shuffled weights, random masks).
        score_epochs: Epochs at which `on_batch` sees the teacher's logits even where the loss does without them.
        companions: The modules that the method trains beside the students.
        phases: The parts of the training, where it has several.
        ranks: The processes that train together, each on its share of every batch; all call this with the same.
        on_batch: Called before each update, with the weights that the loss gave the soft labels; of several processes
            each sees its share.
        on_epoch: Called after each epoch with its number and its last learning rate.
    """
    device = labels.device
    all_ids = torch.as_tensor(rows.ids, device=device)
    all_counts = (
        None if rows.counts is None else torch.as_tensor(rows.counts, device=device, dtype=torch.get_default_dtype())
    )
    steps = math.ceil(all_ids.shape[1] / batch_size)
    batches = [slice(i * batch_size, min((i + 1) * batch_size, all_ids.shape[1])) for i in range(steps)]
    method, needs = objective.method, objective.method.needs
    names = [phase.name for phase in phases for _ in range(phase.epochs)] or [""] * epochs
    now = 0.0
    if ranks.world > 1:
        for trained in (replicas, companions) if companions is not None else (replicas,):
            trained.load_state(ranks.broadcast({name: value.cpu() for name, value in trained.state().items()}))
    with Features(replicas, method.features) as features:
        for epoch in range(start + 1, epochs + 1):
            if ranks.world > 1:  # each draws for rows of its own
                draw_from(int(generator(seed, "rank", ranks.rank, *rows.replicas, epoch).integers(2**62)))
            replicas.train(True)
            if companions is not None:
                companions.train(True)
            places = rows.orders(seed, epoch)
            ids_on_host = np.take_along_axis(rows.ids, places, axis=1)
            order = torch.as_tensor(places, device=device)
            epoch_ids = all_ids.gather(1, order)
            epoch_counts = None if all_counts is None else all_counts.gather(1, order)
            keys = None
            if "random keys" in needs:
                draws = [generator(seed, "arm", arm, r, epoch).random(all_ids.shape[1]) for r in rows.replicas]
                keys = torch.as_tensor(np.stack(draws), device=device)
            shares = [share_of(whole, ranks.rank, ranks.world) for whole in batches]
            own = [piece for piece in shares if piece.start < piece.stop]
            seen = inputs.training_pass(epoch_ids, ids_on_host, rows.replicas, epoch, own)
            for number, (whole, piece) in enumerate(zip(batches, shares, strict=True)):
                tell(epoch, epochs, (epoch - 1 + number / steps) / epochs)
                now = rate_of((epoch - 1) * steps + number, steps)
                if piece.start == piece.stop:  # fewer rows than processes: this one has nothing to add
                    if companions is not None:
                        companions.take_gradients(None)
                    replicas.step(None, now, max_norm=method.max_norm)
                    if companions is not None:
                        companions.step(now)
                    continue
                ids = epoch_ids[:, piece]
                x = next(seen)
                step = Step(
                    ids=ids, inputs=x, labels=labels[ids], epoch=epoch, number=number, rate=now,
                    counts=None if epoch_counts is None else epoch_counts[:, piece], phase=names[epoch - 1],
                    ids_on_host=ids_on_host[:, piece],
                )  # fmt: skip
                method.before_forward(objective.state, replicas, step)
                batch = Batch(
                    **vars(step), logits=replicas(x),
                    teacher_logits=objective.taught(
                        step, needed="teacher" in needs, recorded=epoch in score_epochs
                    ),
                    clean_teacher_logits=objective.teacher_logits(ids) if "clean teacher" in needs else None,
                    keys=None if keys is None else keys[:, piece], features=features.taken(),
                )  # fmt: skip
                losses, weights = objective(batch)
                if on_batch is not None:
                    on_batch(batch, weights)
                rows_in_batch: torch.Tensor | int | None = None
                if ranks.world > 1:
                    rows_in_batch = whole.stop - whole.start if epoch_counts is None else epoch_counts[:, whole].sum(-1)
                loss = mean_over_rows(losses, batch.counts, rows_in_batch)
                if companions is not None:
                    companions.take_gradients(loss)
                replicas.step(loss, now, max_norm=method.max_norm)
                if companions is not None:
                    companions.step(now)
                method.after_step(objective.state, batch)
            seen.close()
            if on_epoch is not None:
                on_epoch(epoch, now)


@torch.no_grad()
def predict(replicas: Replicas, inputs: Inputs, ids: torch.Tensor, *, chunk: int | None = None) -> torch.Tensor:
    """(R, n, C) float64 logits of the n samples, in evaluation mode; the same samples for every replica."""
    replicas.train(False)
    size = next(iter(replicas.parameters().values())).shape[0]
    pieces = []
    for _, x in inputs.clean_pass(ids, chunk):
        pieces.append(replicas(x.expand(size, *x.shape)).double())
    return torch.cat(pieces, dim=1)
