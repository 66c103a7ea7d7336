"""The training loop: set up or resume, train an epoch, validate, keep the best, and yield each epoch.

Training can be stopped at any moment. A signal ends it after the step under way, with a checkpoint of that
very step; a kill loses the epoch under way. Either way, running :func:`fit` again goes on and, on a CPU with
the same number of threads, ends with the same weights bit for bit: every random number of step t is seeded
by (seed, t), torch's own generators being put back after each step.

With several processes (:mod:`medseg.train.processes`) each trains on its share of each batch and gradients
are averaged. That equals one process on the whole batch for losses that are means over pixels of equal
weight; Dice, Σw and batch norm's statistics are each share's own. The same holds for a batch that is trained
on in parts, one after another (``FitPlan.accumulate``), as each part is a share of its batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medseg import files
from medseg.device import resolve_precision
from medseg.grid import centre_crop
from medseg.patches.resident import sampler_on
from medseg.resources import coded_out_of_memory
from medseg.train import optim, selection, state
from medseg.train.average import Average
from medseg.train.batches import Augment, BatchMaker, Draw
from medseg.train.fabric import compile_problem, deterministic, open_fabric, seeded
from medseg.train.faults import ADVICE, check_finite, coded, not_finite
from medseg.train.loss_log import LossLog
from medseg.train.plan import Epoch, FitPlan
from medseg.train.prefetch import ahead, draw_threads, most_helpers
from medseg.train.state import BEST, HISTORY, LAST
from medseg.train.stop import Stopped, StopRequest, handle_stop_signals

Logits = Tensor | list[Tensor]

_AGREE_EVERY = 16
"""Steps between two at which processes on GPUs agree on whether to stop."""


def fit(
    network: nn.Module,
    draw: Draw,
    loss: Callable[..., Tensor],
    plan: FitPlan,
    *,
    folder: Path,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    augment: Augment | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Iterator[Epoch]:
    """Train ``network`` in place and yield each epoch as it ends; on resume, first those already done.

    ``loss`` gets the logits (a list of heads under deep supervision), labels and, if there is one, the
    weight map. ``draw`` gives whole batches, or the rows of them that are ``plan.accumulate``'s parts.
    ``folder`` gets ``last.ckpt`` after each epoch, ``best.ckpt`` (weights) whenever ``validate`` gives a
    better score, ``step_<n>.ckpt`` after the steps of ``plan.keep_at``, and ``history.csv``. Without
    validation, and as long as its scores say nothing (not a number, or always the same), the last weights are
    the best. ``validate`` gets the network in evaluation mode, without gradients, and is called in the first
    process alone. Where ``plan.ema`` asks for an average of the weights, that is what is validated and kept;
    the network itself is left as trained. ``on_step`` gets the steps done, those planned, and the loss, once
    for each step; a GPU is not waited for, so there it comes some steps later.

    :raises MedsegError: ``CHECKPOINT_UNREADABLE``, ``LOSS_NOT_FINITE``, ``OUT_OF_MEMORY``,
        ``KEYWORD_INVALID``.
    :raises Stopped: after SIGINT or SIGTERM, once the checkpoint is written.
    """
    # Set up, or go on where the last checkpoint stands
    optim.check_phases(plan.all_phases, plan.epochs, network)
    selection.require_scores(plan, validated=validate is not None)
    run = _set_up(network, draw, loss, plan, folder=folder, augment=augment, on_step=on_step)
    yield from map(Epoch.from_row, list(run.state.history))
    with closing(run.batches):
        yield from _epochs(run, plan, validate)


def _epochs(
    run: _Run, plan: FitPlan, validate: Callable[[nn.Module], dict[str, float]] | None
) -> Iterator[Epoch]:
    """Train, validate and keep, epoch by epoch, until the plan's end."""
    now = run.state  # counters of the steps and epochs that are done
    while now.epoch < plan.epochs and not now.stopped_early:
        with deterministic(run.fabric.device), handle_stop_signals() as request:
            clock = time.perf_counter() - now.seconds
            phase, first_epoch = optim.phase_at(plan.all_phases, now.epoch)
            optim.apply_phase(phase, run.network, run.optimiser)
            if now.epoch == first_epoch:
                now.rate_drops = now.validations_at_rate = 0
            parts = range(
                now.step * plan.accumulate, (now.epoch + 1) * plan.steps_per_epoch * plan.accumulate
            )

            # Train
            threads = draw_threads(run.fabric.device)
            with closing(ahead(run.batches.draw, parts, threads, run.batches.add_wait)) as batches:
                for part, batch in batches:
                    t = part // plan.accumulate
                    run.set_rates(phase, t - first_epoch * plan.steps_per_epoch)
                    if not run.train_on(part, batch):
                        continue
                    now.step, now.seconds = t + 1, time.perf_counter() - clock
                    now.data_wait += run.batches.take_wait()
                    run.count_losses()
                    if now.step in plan.keep_at:
                        run.save_weights(state.kept_name(now.step), {"step": now.step})
                    if run.agrees_at(t) and (signum := run.agreed_signal(request)):
                        run.count_losses(all_of_them=True)
                        run.save()
                        raise Stopped(now.step, signum)
            run.count_losses(all_of_them=True)
            data_wait = now.data_wait / max(time.perf_counter() - clock, now.data_wait, 1e-9)
            lr = run.set_rates(phase, now.step - 1 - first_epoch * plan.steps_per_epoch)

            # Validate
            val = None
            due = (now.epoch + 1) % plan.validate_every == 0 or now.epoch + 1 == plan.epochs
            if validate is not None and due:
                run.save()
                val = run.validate(validate, request)
            is_best, informative = (validate is None, True)
            if val is not None:
                is_best, informative = selection.judge(now, plan, val)

            # Keep
            now.epoch += 1
            now.seconds = time.perf_counter() - clock
            mean = now.loss_sum / now.loss_steps
            epoch = Epoch(
                number=now.epoch,
                step=now.step,
                train_loss=mean,
                lr=lr,
                seconds=now.seconds,
                val=val,
                is_best=is_best,
                stopped_early=now.stopped_early,
                informative=informative,
                data_wait=data_wait,
            )
            now.history.append(epoch.to_row())
            now.loss_sum, now.loss_steps, now.seconds, now.data_wait = 0.0, 0, 0.0, 0.0
            if is_best:
                run.save_weights(BEST, epoch.to_row())
            run.save()
            run.write_history()
            if signum := run.agreed_signal(request):
                raise Stopped(now.step, signum)
        yield epoch


@dataclass
class _Run:
    """Everything that the loop works with; see :func:`fit`."""

    fabric: Fabric
    network: nn.Module
    model: nn.Module  # the network as Fabric wraps it: precision, processes
    optimiser: torch.optim.Optimizer
    stepper: Any  # the optimiser as Fabric wraps it
    loss: Callable[..., Tensor]
    batches: BatchMaker
    plan: FitPlan
    folder: Path
    settings: dict[str, Any]  # which training this is
    on_step: Callable[[int, int, float], None] | None = None
    losses: LossLog = field(default_factory=LossLog)
    average: Average | None = None
    step_loss: Tensor | None = None  # sum over the parts of the step under way
    state: state.State = field(default_factory=state.State)

    def count_losses(self, *, all_of_them: bool = False) -> None:
        """Add up and report the losses that have arrived from the device, or ``all_of_them``."""
        for t, value in self.losses.arrived(all_of_them=all_of_them):
            if not math.isfinite(value):
                raise not_finite(t, f"the loss is {value}")
            self.state.loss_sum += value
            self.state.loss_steps += 1
            if self.on_step is not None:
                self.on_step(t + 1, self.plan.steps, value)

    def agrees_at(self, t: int) -> bool:
        """True at steps after which the processes agree on signals: to do so is to wait for GPUs."""
        alone = self.fabric.world_size == 1
        return alone or self.fabric.device.type == "cpu" or t % _AGREE_EVERY == 0

    def set_rates(self, phase: optim.Phase, step: int) -> float:
        """Set the rates of a step of the phase; give the highest."""
        total, warmup = phase.epochs * self.plan.steps_per_epoch, self.plan.warmup_steps
        factor = optim.schedule_factor(self.plan.schedule, step, total, warmup)
        return optim.set_rates(self.optimiser, factor * self.plan.plateau.factor**self.state.rate_drops)

    def train_on(self, number: int, batch: Callable[[], Sequence[Tensor]]) -> bool:
        """Train on a part of a batch, by its number among all parts; give true if it ended a step.

        Then the step's loss, the parts' and processes' mean, goes to :attr:`losses`.
        """
        t, part = divmod(number, self.plan.accumulate)
        ends_step = part + 1 == self.plan.accumulate
        with coded_out_of_memory(f"training, step {t}", ADVICE):
            patches, *truth = batch()
        with coded_out_of_memory(f"training, step {t}", ADVICE), coded(len(patches)):
            if part == 0:
                self.stepper.zero_grad()
            waits = self.fabric.world_size > 1 and not ends_step  # for the other processes' gradients
            with self.fabric.no_backward_sync(self.model, enabled=True) if waits else nullcontext():
                loss = self._loss(t, part, patches, *truth)
                self.fabric.backward(loss)
            so_far = loss.detach().clone()
            self.step_loss = so_far if part == 0 or self.step_loss is None else self.step_loss + so_far
            if ends_step:
                self.losses.add(t, self.fabric.all_reduce(self.step_loss, reduce_op="mean"))
                self.take_step(t)
        return ends_step

    def take_step(self, t: int) -> None:
        """Move the weights by the gradients of step ``t``, and their average with them."""
        if self.plan.clip is not None:
            self.fabric.clip_gradients(
                self.model, self.stepper, max_norm=self.plan.clip, error_if_nonfinite=False
            )
        self.stepper.step()
        if self.average is not None:
            self.average.update(t)

    def agreed_signal(self, request: StopRequest) -> int:
        """Give the signal that any process got, or 0: all of them stop at one step."""
        if self.fabric.world_size == 1:
            return request.signum
        signum = torch.tensor(request.signum, device=self.fabric.device)
        return int(self.fabric.all_reduce(signum, reduce_op="max"))

    def validate(
        self, function: Callable[[nn.Module], dict[str, float]], request: StopRequest
    ) -> dict[str, float]:
        """Score the network. All is saved, so a signal need not wait."""
        if signum := self.agreed_signal(request):
            raise Stopped(self.state.step, signum)
        request.at_once = self.state.step
        self.network.eval()
        val: dict[str, float] | None = None
        if self.fabric.is_global_zero:
            averaged = nullcontext() if self.average is None else self.average.in_the_network()
            with averaged, torch.no_grad(), seeded(self.fabric.device, self.plan.seed, self.state.step):
                val = function(self.network)
        scores: dict[str, float] = self.fabric.broadcast(val)
        request.at_once = None
        return scores

    def save(self) -> None:
        """Write ``last.ckpt``; refuse to replace a good one by weights that are not finite."""
        check_finite(self.network, self.state.step)
        if self.fabric.is_global_zero:
            moments = optim.state_by_name(self.optimiser, self.network)
            scaler = self.fabric.strategy.precision.state_dict()
            weights = self.network.state_dict()
            average = {} if self.average is None else self.average.values
            checkpoint = state.Checkpoint(self.state, weights, moments, scaler, self.settings, average)
            state.write(self.folder / LAST, checkpoint)

    def save_weights(self, name: str, metadata: dict[str, Any]) -> None:
        """Write the weights, or their average where one is kept, to a file of this name.

        ``best.ckpt`` is written before ``last.ckpt`` says that there is one.
        """
        check_finite(self.network, self.state.step)
        if self.fabric.is_global_zero:
            weights = self.network.state_dict() if self.average is None else self.average.values
            state.write_network(self.folder / name, weights, metadata)

    def write_history(self) -> None:
        """Write ``history.csv``: one row an epoch, validation's scores under ``val/…``."""
        rows: list[dict[str, Any]] = [_flat(row) for row in self.state.history]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        if self.fabric.is_global_zero:
            files.write_csv(self.folder / HISTORY, columns, rows)

    def resume(self) -> None:
        """Take over ``last.ckpt`` if there is one."""
        path = self.folder / LAST
        if not path.exists():
            return
        checkpoint = state.read(path, self.settings)
        self.network.load_state_dict(dict(checkpoint.network))
        optim.load_by_name(self.optimiser, self.network, checkpoint.optimiser)
        if self.average is not None:
            self.average.load(checkpoint.average)
        self.fabric.strategy.precision.load_state_dict(dict(checkpoint.scaler))
        self.state = checkpoint.state
        if self.state.history:
            self.write_history()

    def _loss(self, t: int, part: int, patches: Tensor, *truth: Tensor) -> Tensor:
        share = self.fabric.global_rank + part * self.fabric.world_size
        with seeded(self.fabric.device, self.plan.seed, t, share):
            logits: Logits = self.model(patches)
        loss = self.loss(logits, *(_fitted(array, logits) for array in truth))
        return loss / self.plan.accumulate if self.plan.accumulate > 1 else loss


def _set_up(
    network: nn.Module,
    draw: Draw,
    loss: Callable[..., Tensor],
    plan: FitPlan,
    *,
    folder: Path,
    augment: Augment | None,
    on_step: Callable[[int, int, float], None] | None,
) -> _Run:
    fabric = open_fabric(plan)
    if plan.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(loss, nn.Module):
        loss = loss.to(fabric.device)
    optimiser = optim.build(plan.optimiser, network)
    compiles = plan.compile and compile_problem(fabric.device.type) is None
    module = torch.compile(network) if compiles else network
    model, stepper = fabric.setup(module, optimiser)
    shares = [
        slice(fabric.global_rank + part * fabric.world_size, None, fabric.world_size * plan.accumulate)
        for part in range(plan.accumulate)
    ]
    precision = resolve_precision(plan.precision, fabric.device)
    source = sampler_on(fabric.device, draw, plan.draw_from)
    settings = {**plan.settings(network), "precision": precision}
    run = _Run(
        fabric=fabric,
        network=network,
        model=model,
        optimiser=optimiser,
        stepper=stepper,
        loss=loss,
        batches=BatchMaker(
            source,
            augment,
            shares,
            fabric.device,
            plan.channels_last,
            most_helpers(fabric.device, fabric.world_size),
        ),
        plan=plan,
        folder=folder,
        settings=settings,
        on_step=on_step,
        average=None if plan.ema is None else Average(network, plan.ema),
    )
    run.resume()
    return run


def _fitted(labels: Tensor, logits: Logits) -> Tensor:
    """Cut labels or weights to where a network of valid convolutions predicts: the middle (B, H', W')."""
    return centre_crop(labels, (logits if isinstance(logits, Tensor) else logits[0]).shape)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Make a row of ``history.csv``; truth values are 0 and 1, undefined scores are empty cells."""
    first = ("step", "train_loss", "lr", "seconds", "data_wait")
    return {
        "epoch": row["number"],
        **{key: row[key] for key in first},
        **{key: int(row[key]) for key in ("is_best", "stopped_early")},
        **{f"val/{key}": v if math.isfinite(v) else "" for key, v in (row["val"] or {}).items()},
    }
