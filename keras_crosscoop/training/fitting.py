"""Training, from settings to a run folder."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, OnError, Skipped, dataset, load_dataset, readable_errors
from keras_crosscoop.errors import unknown
from keras_crosscoop.losses import CrossEntropy
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run, build, build_warm
from keras_crosscoop.training.callbacks import KeepBest, ReportSkipped, WriteHistory
from keras_crosscoop.training.optimizer import SGD


def fit(settings: Settings, folder: Path, callbacks: Sequence[keras.callbacks.Callback] = ()) -> tuple[Run, Segmenter]:
    """Trains a network as the settings say, into a new run folder, and gives the run and the model at its best.

    Raises:
        InputError: the data set, the weights or the folder cannot be used. The folder goes again then, unless an epoch
            was done before a file of the data set turned out to be damaged.
    """
    keras.utils.set_random_seed(settings.train.seed)
    data = dataset(settings.data.name, settings.data.dir)
    loss = _loss(settings, data)
    for split in (settings.data.train_split, settings.data.val_split):
        data.check_labelled(split)
    images = len(data.find(settings.data.train_split))
    steps = max(1, round(images / settings.train.batch_size))  # an epoch; batches run across its end
    skipped = Skipped(), Skipped()  # of the two splits
    training, validation = _pipelines(settings, data, skipped if settings.data.on_error == "skip" else ("fail", "fail"))
    run = Run.create(folder, settings, data)
    with _discarded_if_useless(run), readable_errors():
        model = _network(settings, run)
        model.compile(_optimizer(settings, steps), loss)
        model.fit(
            training,
            epochs=settings.train.epochs,
            steps_per_epoch=steps,
            validation_data=validation,
            validation_freq=_validated_epochs(settings),
            shuffle=False,  # the pipeline does
            verbose=0,
            callbacks=[
                KeepBest(run),
                ReportSkipped(run, *skipped),
                WriteHistory(run),
                keras.callbacks.TensorBoard(run.folder / "tensorboard", write_graph=False),
                *callbacks,
            ],
        )
    run.load_weights(model)
    return run, model


def _network(settings: Settings, run: Run) -> Segmenter:
    if settings.train.init is None:
        return build(settings.model, len(run.classes))
    model, report = build_warm(settings.model, len(run.classes), settings.train.init)
    logging.getLogger(__name__).info(report)
    report.write(run.folder / "init.csv")
    return model


@contextmanager
def _discarded_if_useless(run: Run) -> Iterator[None]:
    """Leaves nothing behind of a run that ended before its first epoch did, and no folder that was not there before."""
    try:
        yield
    except BaseException:  # bad input, and also Ctrl-C while weights are fetched
        if not (run.weights.exists() or run.history.exists()):
            run.discard()
        raise


def _loss(settings: Settings, data: Dataset) -> CrossEntropy:
    weights = settings.loss.class_weights
    if weights is None:
        return CrossEntropy()
    for name in weights:
        if name not in data.classes:
            raise unknown("class for setting loss.class_weights", name, data.classes)
    return CrossEntropy([weights.get(name, 1.0) for name in data.classes])


def _pipelines(settings: Settings, data: Dataset, on_error: tuple[OnError, OnError]) -> tuple:
    options = settings.data
    training = load_dataset(
        data,
        options.train_split,
        training=True,
        **options.augmentation,
        batch_size=settings.train.batch_size,
        repeat=True,
        seed=settings.train.seed,
        on_error=on_error[0],
    )
    validation = load_dataset(
        data, options.val_split, center_crop=settings.evaluation.crop, batch_size=1, on_error=on_error[1]
    )
    return training, validation


def _optimizer(settings: Settings, steps: int) -> SGD:
    options = settings.train
    schedule = keras.optimizers.schedules.PolynomialDecay(
        options.learning_rate, decay_steps=steps * options.epochs, end_learning_rate=0.0, power=options.power
    )
    return SGD(
        schedule,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        head_multiplier=options.head_multiplier,
    )


def _validated_epochs(settings: Settings) -> list[int]:
    """Every so many epochs, and the last one."""
    last, every = settings.train.epochs, settings.train.validate_every
    return sorted({*range(every, last + 1, every), last})
