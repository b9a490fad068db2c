"""Builds the network, loss, optimizer and batches of a training run from its settings."""

import logging
import math
from dataclasses import replace

import tensorflow as tf

from keras_crosscoop import precision
from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, OnError, ReplicaRange, load_dataset
from keras_crosscoop.data.checks import DatasetReport, survey
from keras_crosscoop.data.rare_classes import ClassPositions
from keras_crosscoop.data.statistics import sample_labels
from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.layers import batch_norms
from keras_crosscoop.losses import CrossEntropy, Dice, SegmentationLoss, WeightedSum
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run, build, build_warm
from keras_crosscoop.training.optimizer import SGD, AdamW
from keras_crosscoop.training.schedule import Cosine, Polynomial
from keras_crosscoop.training.strategy import distributed

_log = logging.getLogger(__name__)

Batches = tf.data.Dataset | tf.distribute.DistributedDataset


def data(described: Dataset, settings: Settings) -> Dataset:
    """Returns the data set, if its splits can be trained and measured on.

    Raises:
        InputError: A split does not exist or has no labels.
    """
    for split in (settings.data.train_split, settings.data.val_split):
        described.check_labelled(split)
    return described


def check_data(data: Dataset, settings: Settings) -> tuple[Dataset, DatasetReport]:
    """Tells what was found out about a data set, and what its labels hold.

    Returns:
        The data set, which can be used in spite of its problems if `data.check` is false; and the report.

    Raises:
        InputError: The labels would make training meaningless, and `data.check` is true.
    """
    for statement in data.statements:
        _log.info(statement)
    splits = settings.data.train_split, settings.data.val_split
    positions_in = splits[0] if settings.data.rare_classes else None
    report = survey(data, splits, unreadable=settings.data.on_error != "skip", positions_in=positions_in)
    for line in report.lines("warning"):
        _log.warning("warning: %s", line)
    if (problems := report.lines("problem")) and settings.data.check:
        others = f" ({len(problems) - 1} more: `crosscoop-tf data check`.)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0].removesuffix('.')}.{others} To train all the same: --set data.check=off")
    for line in problems:
        _log.warning("problem: %s", line)
    return (data if settings.data.check else replace(data, findings=())), report


def steps_per_epoch(settings: Settings, images: int) -> int:
    """Returns `train.steps_per_epoch`, or as many as see each image about once: a multiple of `steps_per_execution`."""
    execution, steps = settings.train.steps_per_execution, settings.train.steps_per_epoch
    return execution * max(1, round((steps or images / settings.train.batch_size) / execution))


def network(run: Run, *, from_checkpoint: bool) -> Segmenter:
    """Returns the network with its initial weights, or with random ones if a checkpoint will replace them."""
    settings, options = run.settings, run.settings.train
    with precision.policy(options.precision):
        if from_checkpoint or options.init_from is None:
            model = build(settings.model, len(run.classes), pretrained=not from_checkpoint)
        else:
            model, report = build_warm(
                settings.model, len(run.classes), options.init_from, needs_backbone=options.init_from_needs_backbone
            )
            if run.writes:
                _log.info(report)
                report.write(run.folder / "init_from.csv")
    for layer in batch_norms(model):
        layer.trainable = options.batch_norm != "frozen"
        layer.synchronized = options.batch_norm == "sync"
    return model


def loss(settings: Settings, data: Dataset) -> SegmentationLoss:
    """Returns the loss of one output.

    Raises:
        InputError: A class weight names a class that the data set does not have.
    """
    options = settings.loss
    weights = options.class_weights
    if weights is not None:
        if unknown := weights.keys() - set(data.classes):
            raise unknown_name("class for setting loss.class_weights", min(unknown), data.classes)
        weights = [weights.get(name, 1.0) for name in data.classes]
    pixels = CrossEntropy(
        weights,
        label_smoothing=options.label_smoothing,
        focal_gamma=options.focal_gamma,
        hard_pixel_fraction=options.hard_pixel_fraction,
    )
    return WeightedSum([pixels, Dice()], [1.0, options.dice_weight]) if options.dice_weight else pixels


def optimizer(settings: Settings, steps: int) -> SGD | AdamW:
    """Returns the optimizer, with a schedule for epochs of `steps` steps."""
    options = settings.train
    schedule = {"learning_rate": options.learning_rate, "steps": steps * options.epochs}
    schedule |= {"warmup_steps": options.warmup_steps}
    rate = Cosine(**schedule) if options.schedule == "cosine" else Polynomial(**schedule, power=options.poly_power)
    shared = {
        "weight_decay": options.weight_decay,
        "head_lr_multiplier": options.head_lr_multiplier,
        "global_clipnorm": options.clip_norm,
        "ema_decay": options.ema_decay,
    }
    if options.optimizer == "adamw":
        return AdamW(rate, **shared)
    return SGD(rate, momentum=options.momentum, decoupled_weight_decay=options.decoupled_weight_decay, **shared)


def compile_network(model: Segmenter, settings: Settings, loss: SegmentationLoss, steps: int) -> None:
    """Compiles a network for epochs of `steps` steps."""
    options = settings.train
    model.compile(
        optimizer(settings, steps),
        loss,
        {side: settings.loss.weights.get(side, 1.0) for side in model.sides},
        accumulation_steps=options.accumulation_steps,
        steps_per_execution=options.steps_per_execution,
        jit_compile=options.jit_compile,
        remat=options.remat,
    )


def class_positions(run: Run, data: Dataset) -> ClassPositions | None:
    """Returns where the classes were when the run began, if it draws rare classes.

    Raises:
        InputError: The run's file cannot be read.
    """
    if not run.settings.data.rare_classes:
        return None
    if run.class_positions.exists():
        return ClassPositions.load(run.class_positions)
    return find_classes(data, run.settings)  # it was interrupted when it began


def find_classes(data: Dataset, settings: Settings) -> ClassPositions:
    """Decodes all training labels, and returns where the classes are.

    Raises:
        InputError: The split cannot be used.
    """
    return sample_labels(data, settings.data.train_split, None).positions


def training_batches(
    settings: Settings, data: Dataset, on_error: OnError, *, start: int, positions: ClassPositions | None
) -> Batches:
    """Returns infinite training batches, beginning with the batch of step `start`."""
    options = settings.train

    def load(replicas: ReplicaRange) -> tf.data.Dataset:
        return load_dataset(
            data,
            settings.data.train_split,
            training=True,
            **settings.data.augmentation,
            positions=positions,
            batch_size=options.batch_size,
            repeat=True,
            seed=options.seed,
            start=start * options.batch_size,
            replicas=replicas,
            on_error=on_error,
        )

    return distributed(load)


def validation_batches(settings: Settings, data: Dataset, on_error: OnError) -> tuple[Batches, int]:
    """Returns batches of one validation image per replica, and the number of steps for all images."""
    images = tf.distribute.get_strategy().num_replicas_in_sync
    split, crop = settings.data.val_split, settings.evaluation.crop

    def load(replicas: ReplicaRange) -> tf.data.Dataset:
        return load_dataset(data, split, center_crop=crop, batch_size=images, replicas=replicas, on_error=on_error)

    return distributed(load), math.ceil(len(data.find(split)) / images)
