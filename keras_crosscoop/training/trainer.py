"""Trains a network from settings into a run folder."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import tensorflow as tf

from keras_crosscoop import config
from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, Skipped, dataset, indices, load_dataset, readable_errors
from keras_crosscoop.data.rare_classes import ClassPositions
from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import restored_random_state, synchronizes_in_loops
from keras_crosscoop.losses import SegmentationLoss
from keras_crosscoop.planning import Machine, describe_data, describe_machine, plan
from keras_crosscoop.runs import Run
from keras_crosscoop.system.devices import fastest_precision
from keras_crosscoop.system.json_files import write_json
from keras_crosscoop.system.locks import locked
from keras_crosscoop.system.resources import free_memory
from keras_crosscoop.training import builders
from keras_crosscoop.training.budget import Deadline, fit_into_time, measure
from keras_crosscoop.training.callbacks import KeepBest, ReportSkipped, WriteHistory
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.checkpoint_manager import CheckpointManager
from keras_crosscoop.training.failures import disk_errors, lost_machines
from keras_crosscoop.training.loop import train
from keras_crosscoop.training.strategy import (
    is_chief,
    mean_over_machines,
    min_over_machines,
    on_any_machine,
    strategy,
)
from keras_crosscoop.training.tensorboard import WriteTensorBoard
from keras_crosscoop.training.timings import WriteTimings
from keras_crosscoop.training.validation import Validation

_log = logging.getLogger(__name__)

EXAMPLES = 3  # validation images in TensorBoard

Callbacks = Sequence[keras.callbacks.Callback]


def fit(settings: Settings, folder: Path, callbacks: Callbacks = (), *, start: float | None = None) -> Run:
    """Trains a network into a new run folder, and keeps the best weights there.

    Training changes random seeds and other settings of the process, and restores them at the end. No other thread
    should train at the same time.

    Args:
        settings: The settings, from `keras_crosscoop.config.settings`.
        folder: A folder that is empty or does not exist yet.
        callbacks: Keras callbacks.
        start: The `time.monotonic()` at which `train.time` began; now by default.

    Returns:
        The run. `Run.load` returns its model with the best weights.

    Raises:
        InputError: The data set, the weights or the folder cannot be used, or the training failed. The folder is
            removed unless it holds a checkpoint or the results of an epoch.
        Interrupted: A signal arrived, and a checkpoint was written.

    Example:
        >>> from pathlib import Path
        >>> from keras_crosscoop import config, training
        >>> tiny = {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 8, "weights": None}
        >>> settings = config.settings({"model": tiny, "data": {"crop_size": 65}, "train": {"epochs": 1}})
        >>> run = training.fit(settings, Path("run"))
        >>> run.load().output_choices
        ('top', 'bottom', 'ensemble')
    """
    start = time.monotonic() if start is None else start
    _check_backend()
    with strategy(settings.train.strategy).scope(), lost_machines(folder):
        data = builders.data(dataset(settings.data.name, settings.data.dir), settings)
        builders.loss(settings, data)  # refuses what needs no look at the labels
        data, report = builders.check_data(data, settings)
        choices, positions = None, report.positions
        if settings.train.time:
            choices = plan(describe_data(data, report, settings), _machine(settings), settings)
            settings = choices.settings
            for line in choices.lines():
                _log.info(line)
            for line in choices.warnings:
                _log.warning("warning: %s", line)
            if settings.data.rare_classes and positions is None:
                positions = builders.find_classes(data, settings)
        if settings.train.precision == "auto":
            settings = config.settings(settings.model_dump(), {"train": {"precision": _precision(fastest_precision())}})
        _check_batch(settings, data)
        loss = builders.loss(settings, data)
        if is_chief():
            run = Run.create(folder, settings, data)
        else:
            run = Run(folder, settings, data.classes, data.palette, writes=False)
        with _exclusive(run), _discard_if_useless(run), disk_errors(run), _reproducible(run):
            if run.writes:
                write_json(report.as_dict(), run.data_check)
                if choices:
                    write_json({"time": settings.train.time, "choices": choices.as_dict()}, run.plan)
                if positions:
                    positions.save(run.class_positions)
            return _train(run, data, loss, callbacks, positions, start)


def resume(folder: Path, callbacks: Callbacks = ()) -> Run:
    """Continues an interrupted run from its last checkpoint, or from the start if there is none.

    On CPUs the result has the same bits as without the interruption.

    Args:
        folder: The folder of the run.
        callbacks: Keras callbacks like those of `fit`.

    Returns:
        The run.

    Raises:
        InputError: See `fit`; or the folder is not a run, the data set has other classes, or another process trains it.
        Interrupted: A signal arrived, and a checkpoint was written.

    Example:
        >>> from pathlib import Path
        >>> from keras_crosscoop import training
        >>> run = training.resume(Path("run"))
    """
    _check_backend()
    run = Run.open(folder)
    with strategy(run.settings.train.strategy).scope(), lost_machines(folder):
        data = builders.data(run.open_dataset(), run.settings)
        _check_batch(run.settings, data)
        run = replace(run, writes=is_chief())
        loss = builders.loss(run.settings, data)
        with _exclusive(run), disk_errors(run), _reproducible(run):
            if not CheckpointFiles(run.checkpoints).files:
                _log.info("The run has no checkpoint yet: training begins anew.")
            return _train(run, data, loss, callbacks, builders.class_positions(run, data), time.monotonic())


def _check_backend() -> None:
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "Runs need TensorFlow; other backends train with `model.fit`. Unset KERAS_BACKEND. "
            f"Received: {keras.backend.backend()!r}"
        )


def _machine(settings: Settings) -> Machine:
    """Returns the facts about the devices of the current strategy; of several machines, the same on each."""
    machine, replicas = describe_machine(settings), tf.distribute.get_strategy().num_replicas_in_sync
    precision = _precision(machine.precision)
    gpu_memory = int(min_over_machines(min(machine.gpus, default=0)))
    return replace(
        machine,
        memory=int(min_over_machines(machine.memory)),
        gpus=(gpu_memory,) * replicas if gpu_memory else (),
        precision=precision,
        imagenet=bool(min_over_machines(machine.imagenet)),
    )


def _precision(fastest: str) -> str:
    """Returns the fastest Keras dtype policy of all machines, from that of each."""
    policies = "float32", "mixed_float16", "mixed_bfloat16"
    return next(policy for policy in policies if on_any_machine(policy == fastest))


def _check_batch(settings: Settings, data: Dataset) -> None:
    """Checks that batches can be split over the devices, and that they fit into memory."""
    options, crop = settings.train, settings.data.crop_size
    distribution = tf.distribute.get_strategy()
    replicas, accumulation = distribution.num_replicas_in_sync, options.accumulation_steps
    independent = replicas == 1 or synchronizes_in_loops(distribution)
    if accumulation > 1 and options.batch_norm == "sync" and not independent:
        raise InputError(
            "Only GPUs with NCCL can synchronise batch normalisation while gradients accumulate. "
            f"Set train.batch_norm to frozen or train. Received: {accumulation}"
        )
    if options.batch_size % (replicas * accumulation):
        raise InputError(
            f"The batch size must be a multiple of the number of devices ({replicas}) times train.accumulation_steps "
            f"({accumulation}). Received: {options.batch_size}"
        )
    share = options.batch_size // replicas
    received = f"data.crop_size={crop}, train.batch_size={options.batch_size}, train.accumulation_steps={accumulation}"
    if share // accumulation * crop**2 * len(data.classes) >= 2**31:
        raise InputError(
            "A device would compute 2^31 logits or more at a time, too many for TensorFlow. Use smaller crops or "
            f"batches, or more accumulation steps. Received: {received}, {len(data.classes)} classes"
        )
    if (need := share * crop**2 * 4) > (free := free_memory()):  # three channels and a label, uint8
        raise InputError(
            f"The crops of one batch alone take {need / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free. "
            f"Use smaller crops or batches. Received: {received}"
        )


def _train(
    run: Run,
    data: Dataset,
    loss: SegmentationLoss,
    callbacks: Callbacks,
    positions: ClassPositions | None,
    start: float,
) -> Run:
    """Trains within the strategy's scope, and returns the run; `train.time` began at `start`."""
    checkpoints = CheckpointFiles(run.checkpoints)
    building = time.monotonic()
    model = builders.network(run, from_checkpoint=bool(checkpoints.files))
    durations = None
    if run.settings.train.time:
        durations = measure(model, run.settings, data, loss, positions, build=time.monotonic() - building)
        end = start + run.settings.train.seconds
        left = mean_over_machines(end - time.monotonic())  # all machines must make the same number of steps
        settings, planned = fit_into_time(run.settings, durations, left, data)
        if run.writes:
            write_json(json.loads(run.plan.read_text("utf-8")) | {"seconds": planned}, run.plan)
        run = run.with_settings(settings)
        callbacks = [*callbacks, Deadline(end, durations, run.settings, data)]
    settings, options = run.settings, run.settings.train
    skipped = Skipped(), Skipped()  # files of the training and the validation split
    skipped[1].images = len(data.find(settings.data.val_split))  # the limit holds for all, not for a sample of them
    on_error = skipped if settings.data.on_error == "skip" else ("fail", "fail")
    pairs = data.find(settings.data.train_split)
    steps = builders.steps_per_epoch(settings, len(pairs))

    if options.warmup_steps >= (last := steps * options.epochs):
        _log.warning(
            "warning: The warm-up does not end before the training. Lower train.warmup_steps. Received: %d of %d steps",
            options.warmup_steps,
            last,
        )
    builders.compile_network(model, settings, loss, steps)
    validated = data.sample(settings.data.val_split, settings.evaluation.images)
    validation = Validation(model, settings, validated, on_error[1])
    callbacks = [KeepBest(run if run.writes else None, options.patience), *callbacks]
    board = nullcontext()
    if run.writes:
        crop, split = settings.evaluation.crop, settings.data.val_split
        with readable_errors():
            samples = load_dataset(data, split, center_crop=crop, on_error=on_error[1])
            examples = list(samples.take(EXAMPLES).as_numpy_iterator())
        board = WriteTensorBoard(
            run,
            examples,
            profile=options.profile,
            inference=lambda _: validation.inference,
            is_stopping=lambda: manager.stopping,
        )
        timings = WriteTimings(run, start, durations and durations.batch)
        writers = ReportSkipped(run, *skipped), WriteHistory(run), board, timings
        callbacks = [*callbacks[:1], *writers, *callbacks[1:]]

    def files(step: int) -> list[str]:
        samples = range(step * options.batch_size, (step + 1) * options.batch_size)
        rare = {"rare_classes": settings.data.rare_classes, "positions": positions}
        shown = indices(samples, len(pairs), options.seed, mix=settings.data.mix, **rare)
        return [str(pairs[index][0]) for index in shown]

    manager = CheckpointManager(model, checkpoints, callbacks, writes=run.writes, files=files, **options.save_interval)
    manager.resume()
    if manager.position[0] >= options.epochs:
        _log.info("Training is complete, at step %d. `fit --resume` only evaluates the run again.", manager.step)
    elif manager.step:
        _log.info("Training continues from step %d.", manager.step)
    batches = builders.training_batches(settings, data, on_error[0], start=manager.step, positions=positions)
    callbacks = keras.callbacks.CallbackList(
        [*callbacks, manager],
        model=model,
        add_history=False,
        epochs=options.epochs,
        steps=steps,
        batch_size=options.batch_size,
    )
    with manager, board, readable_errors():
        train(
            model,
            iter(batches),
            validation,
            callbacks,
            manager,
            epochs=options.epochs,
            steps=steps,
            validate_every=options.validate_every,
        )
    return run


@contextmanager
def _reproducible(run: Run) -> Iterator[None]:
    """Seeds the process, and makes TensorFlow deterministic if the settings ask for it, or by default on CPUs."""
    options = run.settings.train
    if options.deterministic and options.jit_compile:
        raise InputError(
            "XLA's kernels are not deterministic. Set train.deterministic or train.jit_compile to false. Received: both"
        )
    deterministic = options.deterministic
    if deterministic is None:
        deterministic = not (options.jit_compile or tf.config.list_physical_devices("GPU"))
    with restored_random_state():
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(options.seed)
        yield


def _exclusive(run: Run) -> AbstractContextManager:
    """Keeps other processes from training the run; of several machines, only the writing one takes the lock."""
    busy = "Another process is training the run. Wait for its end, or stop it."
    return locked(run.folder, busy) if run.writes else nullcontext()


@contextmanager
def _discard_if_useless(run: Run) -> Iterator[None]:
    """Removes a failed run that has neither weights nor history nor a checkpoint."""
    try:
        yield
    except BaseException:  # bad input, and also Ctrl-C while weights are downloaded
        if run.writes and not (run.weights.exists() or run.history.exists() or run.checkpoints.exists()):
            run.discard()
        raise
