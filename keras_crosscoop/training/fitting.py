"""Training, from settings to a run folder."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from keras_crosscoop.config import Settings, Train
from keras_crosscoop.data import Dataset, Skipped, indices, load_dataset, readable_errors
from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import synchronizes_in_loops
from keras_crosscoop.losses import SegmentationLoss
from keras_crosscoop.runs import Run
from keras_crosscoop.system.devices import fastest_precision
from keras_crosscoop.system.locks import locked
from keras_crosscoop.system.resources import free_memory
from keras_crosscoop.training import parts
from keras_crosscoop.training.callbacks import KeepBest, ReportSkipped, WriteHistory
from keras_crosscoop.training.checkpoints import Checkpoints
from keras_crosscoop.training.disk import disk_errors
from keras_crosscoop.training.loop import train
from keras_crosscoop.training.process_state import reproducible
from keras_crosscoop.training.saving import CheckpointManager
from keras_crosscoop.training.strategy import is_chief, lost_machines, strategy
from keras_crosscoop.training.tensorboard import WriteTensorBoard
from keras_crosscoop.training.validation import Validation

EXAMPLES = 3  # of the validation split, which TensorBoard shows

Callbacks = Sequence[keras.callbacks.Callback]


def fit(settings: Settings, folder: Path, callbacks: Callbacks = ()) -> Run:
    """Trains a network as the settings say, into a new run folder, which holds it at its best.

    What it sets for the whole process, as seeds, is afterwards as it was; so no other thread should train meanwhile.

    Raises:
        InputError: the data set, the weights or the folder cannot be used, or the training failed. The folder goes
            again then, unless there is a checkpoint or an epoch was done.
        Interrupted: by a signal, after a checkpoint.
    """
    _check_backend()
    if settings.train.precision == "auto":
        settings = settings.with_precision(fastest_precision())
    with strategy(settings.train.strategy).scope(), lost_machines(folder):
        data = _opened(settings)
        loss = parts.loss(settings, data)
        if is_chief():
            run = Run.create(folder, settings, data)
        else:
            run = Run(folder, settings, data.classes, data.palette, writes=False)
        with _alone(run), _discarded_if_useless(run), disk_errors(run), _seeded(run):
            _train(run, data, loss, callbacks)
    return run


def resume(folder: Path, callbacks: Callbacks = ()) -> Run:
    """Goes on with a run from its last checkpoint, or from the start if there is none, to the same end.

    Raises:
        InputError: as of `fit`; or this is no run, its data set is not the one it was trained on, or another process
            trains it.
        Interrupted: by a signal, after a checkpoint.
    """
    _check_backend()
    run = Run.open(folder)
    with strategy(run.settings.train.strategy).scope(), lost_machines(folder):
        data = _opened(run.settings)
        run.check_classes(data)
        run = replace(run, writes=is_chief())
        loss = parts.loss(run.settings, data)
        with _alone(run), disk_errors(run), _seeded(run):
            if not Checkpoints(run.checkpoints).files:
                logging.getLogger(__name__).info("The run has no checkpoint yet: training begins anew.")
            _train(run, data, loss, callbacks)
    return run


def _check_backend() -> None:
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "Runs are trained on TensorFlow; other backends train by `model.fit`. Unset KERAS_BACKEND. "
            f"Received: {keras.backend.backend()!r}"
        )


def _deterministic(options: Train) -> bool:
    if options.deterministic and options.jit_compile:
        raise InputError(
            "XLA's kernels are not deterministic. Set train.deterministic or train.jit_compile to false. Received: both"
        )
    if options.deterministic is None:
        return not (options.jit_compile or tf.config.list_physical_devices("GPU"))
    return options.deterministic


def _check_shares(settings: Settings) -> None:
    several, options = tf.distribute.get_strategy(), settings.train
    apart = several.num_replicas_in_sync == 1 or synchronizes_in_loops(several)
    if options.accumulation_steps > 1 and options.batch_norm == "sync" and not apart:
        raise InputError(
            "These devices cannot synchronise batch normalisation while they accumulate gradients, only "
            f"GPUs by NCCL can. Set train.batch_norm to frozen or train. Received: {options.accumulation_steps}"
        )
    share = options.batch_size // several.num_replicas_in_sync
    if options.batch_size % several.num_replicas_in_sync or share % options.accumulation_steps:
        raise InputError(
            f"The batch size must be a multiple of the number of devices ({several.num_replicas_in_sync}) times "
            f"train.accumulation_steps ({options.accumulation_steps}). Received: {options.batch_size}"
        )


def _check_size(settings: Settings, num_classes: int) -> None:
    """Refuses what cannot be in any memory; what may not be, TensorFlow tells."""
    options, crop = settings.train, settings.data.crop_size
    share = options.batch_size // tf.distribute.get_strategy().num_replicas_in_sync
    received = f"data.crop_size={crop}, train.batch_size={options.batch_size}, train.accumulation_steps={options.accumulation_steps}"
    if share // options.accumulation_steps * crop**2 * num_classes >= 2**31:
        raise InputError(
            "Logits are too many to be counted by TensorFlow (2^31 and more at a time, on one device). Take smaller "
            f"crops or batches, or accumulate more parts. Received: {received}, {num_classes} classes"
        )
    if (need := share * crop**2 * 4) > (free := free_memory()):  # three channels and a label, uint8
        raise InputError(
            f"The crops of one batch alone take {need / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} are free. "
            f"Take smaller crops or batches. Received: {received}"
        )


def _opened(settings: Settings) -> Dataset:
    _check_shares(settings)
    data = parts.data(settings)
    _check_size(settings, len(data.classes))
    return data


def _train(run: Run, data: Dataset, loss: SegmentationLoss, callbacks: Callbacks) -> None:
    """In the strategy's scope."""
    settings, options = run.settings, run.settings.train
    skipped = Skipped(), Skipped()  # of the two splits
    on_error = skipped if settings.data.on_error == "skip" else ("fail", "fail")
    validation = Validation(settings, data, on_error[1])
    pairs = data.find(settings.data.train_split)
    steps = parts.steps_per_epoch(settings, len(pairs))

    checkpoints = Checkpoints(run.checkpoints)
    model = parts.network(run, begun=bool(checkpoints.files))
    model.compile(
        parts.optimizer(settings, steps),
        loss,
        {side: settings.loss.weights.get(side, 1.0) for side in model.sides},
        accumulation_steps=options.accumulation_steps,
        steps_per_execution=options.steps_per_execution,
        jit_compile=options.jit_compile,
        remat=options.remat,
    )
    callbacks = [KeepBest(run if run.writes else None, options.patience), *callbacks]
    board = nullcontext()
    if run.writes:
        crop, split = settings.evaluation.crop, settings.data.val_split
        with readable_errors():
            samples = load_dataset(data, split, center_crop=crop, on_error=on_error[1])
            examples = list(samples.take(EXAMPLES).as_numpy_iterator())
        board = WriteTensorBoard(
            run, examples, profile=options.profile, looking=validation.looking, is_stopping=lambda: saver.stopping
        )
        callbacks = [*callbacks[:1], ReportSkipped(run, *skipped), WriteHistory(run), board, *callbacks[1:]]

    def files(step: int) -> list[str]:
        samples = range(step * options.batch_size, (step + 1) * options.batch_size)
        return [str(pairs[index][0]) for index in indices(samples, len(pairs), options.seed)]

    saver = CheckpointManager(
        model,
        checkpoints,
        callbacks,
        every_steps=options.save_interval.get("steps", math.inf),
        every_seconds=options.save_interval.get("seconds", math.inf),
        writes=run.writes,
        files=files,
    )
    saver.resume()
    batches = parts.training_batches(settings, data, on_error[0], start=saver.step)
    with saver, board, readable_errors():
        train(
            model,
            iter(batches),
            validation,
            keras.callbacks.CallbackList(
                [*callbacks, saver], model=model, add_history=False, epochs=options.epochs, steps=steps
            ),
            saver,
            epochs=options.epochs,
            steps=steps,
            validated=_Validated(options.validate_every, options.epochs),
        )


def _seeded(run: Run) -> AbstractContextManager:
    options = run.settings.train
    return reproducible(options.seed, deterministic=_deterministic(options))


def _alone(run: Run) -> AbstractContextManager:
    """Within it, no other process trains the run; of several machines that do so together, the one that writes asks."""
    busy = "Another process trains the run already. Wait for its end, or stop it."
    return locked(run.folder, busy) if run.writes else nullcontext()


@dataclass(frozen=True)
class _Validated:
    """The epochs, counted from 1, after which there is validation: every so many, and the last; no list of them."""

    every: int
    last: int

    def __contains__(self, epoch: int) -> bool:
        return epoch == self.last or epoch % self.every == 0


@contextmanager
def _discarded_if_useless(run: Run) -> Iterator[None]:
    """Leaves nothing behind of a run that nothing can be made of, and no folder that was not there before."""
    try:
        yield
    except BaseException:  # bad input, and also Ctrl-C while weights are fetched
        if run.writes and not (run.weights.exists() or run.history.exists() or run.checkpoints.exists()):
            run.discard()
        raise
