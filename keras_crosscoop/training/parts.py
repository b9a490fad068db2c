"""The parts of a training that settings describe: network, loss, optimizer and data."""

import logging
import math

import tensorflow as tf

from keras_crosscoop import precision
from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, OnError, ReplicaRange, dataset, load_dataset
from keras_crosscoop.errors import unknown_name
from keras_crosscoop.layers import batch_norms
from keras_crosscoop.losses import CrossEntropy, Dice, SegmentationLoss, WeightedSum
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run, build, build_warm
from keras_crosscoop.training.optimizer import SGD
from keras_crosscoop.training.schedule import Polynomial
from keras_crosscoop.training.strategy import distributed

Batches = tf.data.Dataset | tf.distribute.DistributedDataset


def data(settings: Settings) -> Dataset:
    """The data set, with labels on both splits.

    Raises:
        InputError: there is none.
    """
    found = dataset(settings.data.name, settings.data.dir)
    for split in (settings.data.train_split, settings.data.val_split):
        found.check_labelled(split)
    return found


def steps_per_epoch(settings: Settings, images: int) -> int:
    """How many steps show about all images once, in whole executions; batches run across the end of an epoch."""
    once = settings.train.steps_per_execution
    return once * max(1, round(images / settings.train.batch_size / once))


def network(run: Run, *, begun: bool) -> Segmenter:
    """The network, with the weights that it begins with, unless it has begun and a checkpoint has them."""
    settings, options = run.settings, run.settings.train
    with precision.policy(options.precision):
        if begun or options.init_from is None:
            model = build(settings.model, len(run.classes), pretrained=not begun)
        else:
            model, report = build_warm(
                settings.model, len(run.classes), options.init_from, needs_backbone=options.init_from_needs_backbone
            )
            if run.writes:
                logging.getLogger(__name__).info(report)
                report.write(run.folder / "init_from.csv")
    for layer in batch_norms(model):
        layer.trainable = options.batch_norm != "frozen"
        layer.synchronized = options.batch_norm == "sync"
    return model


def loss(settings: Settings, data: Dataset) -> SegmentationLoss:
    """The loss of one output.

    Raises:
        InputError: a weight is given for a class that the data set does not have.
    """
    options = settings.loss
    weights = options.class_weights
    if weights is not None:
        for name in weights:
            if name not in data.classes:
                raise unknown_name("class for setting loss.class_weights", name, data.classes)
        weights = [weights.get(name, 1.0) for name in data.classes]
    pixels = CrossEntropy(
        weights,
        label_smoothing=options.label_smoothing,
        focal_gamma=options.focal_gamma,
        hard_pixel_fraction=options.hard_pixel_fraction,
    )
    return WeightedSum([pixels, Dice()], [1.0, options.dice_weight]) if options.dice_weight else pixels


def optimizer(settings: Settings, steps: int) -> SGD:
    """The optimizer, its schedule laid out for epochs of so many steps."""
    options = settings.train
    return SGD(
        Polynomial(options.learning_rate, steps * options.epochs, options.poly_power, options.warmup_steps),
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        decoupled_weight_decay=options.decoupled_weight_decay,
        head_lr_multiplier=options.head_lr_multiplier,
        global_clipnorm=options.clip_norm,
        ema_decay=options.ema_decay,
    )


def training_batches(settings: Settings, data: Dataset, on_error: OnError, *, start: int) -> Batches:
    """Batches without end, from the one of step `start`."""
    options = settings.train

    def load(replicas: ReplicaRange) -> tf.data.Dataset:
        return load_dataset(
            data,
            settings.data.train_split,
            training=True,
            **settings.data.augmentation,
            batch_size=options.batch_size,
            repeat=True,
            seed=options.seed,
            start=start * options.batch_size,
            replicas=replicas,
            on_error=on_error,
        )

    return distributed(load)


def validation_batches(settings: Settings, data: Dataset, on_error: OnError) -> tuple[Batches, int]:
    """Images one at a time for each replica, and how many steps it takes to see all."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def load(replicas: ReplicaRange) -> tf.data.Dataset:
        crop = settings.evaluation.crop
        split = settings.data.val_split
        return load_dataset(data, split, center_crop=crop, batch_size=replicas, replicas=replicas, on_error=on_error)

    return distributed(load), math.ceil(len(data.find(settings.data.val_split)) / replicas)
