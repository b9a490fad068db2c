"""Training within a given time: a short timed beginning settles how many steps and validations fit (`train.time`)."""

import logging
import statistics
import time
from dataclasses import dataclass
from typing import Any

import keras

from keras_crosscoop import config
from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, Skipped, readable_errors
from keras_crosscoop.data.rare_classes import ClassPositions
from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import train_function
from keras_crosscoop.losses import SegmentationLoss
from keras_crosscoop.models import Segmenter
from keras_crosscoop.training import builders
from keras_crosscoop.training.state import assign, values, variables
from keras_crosscoop.training.strategy import mean_over_machines, on_any_machine
from keras_crosscoop.training.validation import Validation

_log = logging.getLogger(__name__)

MARGIN = 0.05  # of the time: steps may become slower, as on laptops that get warm
VALIDATING = 0.08  # of the time, at most, for validations during training
MOST_VALIDATIONS = 20
LEAST_VALIDATIONS = 3  # of which the best weights are kept
_WARM_UP, _TIMED_STEPS = 3, 8  # calls of the train function; the pipeline has prefetched the first batches
_PREFETCHED = 6  # batches, at least, that are ready before the first one is asked for
_TIMED_IMAGES = 4
# Estimates, on the safe side: the final evaluation also counts boundaries, and the report draws examples.
_EVALUATION = 1.6  # times the validation of the same images
_REPORT = 12.0  # seconds


@dataclass(frozen=True)
class Durations:
    """Measured seconds of the parts of a training.

    Attributes:
        build: Building the network and loading its initial weights.
        first_step: The first step, with its compilation.
        step: A further step.
        batch: Making the batch of a step, while nothing else runs.
        first_validation: The compilation of the validation.
        image: The validation of one image.
    """

    build: float
    first_step: float
    step: float
    batch: float
    first_validation: float
    image: float

    def final(self, images: int) -> float:
        """Estimates the final evaluation of `images` images, with the report."""
        return self.build + _EVALUATION * (self.first_validation + images * self.image) + _REPORT


@dataclass(frozen=True)
class Layout:
    """Steps and validations that fit into a time.

    Attributes:
        validations: Their number; each ends an epoch.
        steps: The steps between two validations.
        images: The images of each validation.
    """

    validations: int
    steps: int
    images: int


def lay_out(
    seconds: float, durations: Durations, images: int, execution: int = 1, most_images: int | None = None
) -> Layout:
    """Lays out a training that ends after `seconds`, with validations and the final evaluation of all images.

    Validations take at most `VALIDATING` of the time. If fewer than two of all images fit, `LEAST_VALIDATIONS` measure
    fewer images.

    Args:
        seconds: The time that is left.
        durations: How long each part takes.
        images: The number of validation images.
        execution: Steps per call of the train function.
        most_images: The largest number of images of a validation during training; None for no limit.

    Raises:
        InputError: Not a single step fits.

    Example:
        >>> from keras_crosscoop.training.budget import Durations, lay_out
        >>> durations = Durations(build=5, first_step=15, step=1, batch=0.1, first_validation=10, image=0.1)
        >>> lay_out(1800, durations, images=100)
        Layout(validations=13, steps=115, images=100)
    """
    fixed = durations.first_step + durations.first_validation + durations.final(images)
    left = (1 - MARGIN) * seconds - fixed
    if left < (least := execution * durations.step + durations.image):
        raise InputError(
            f"Training a step and the evaluation take {(fixed + least) / (1 - MARGIN):.0f} s. Give more with --time. "
            f"Received: {max(seconds, 0):.0f} s left after the beginning"
        )
    allowed = VALIDATING * left / durations.image  # images, over all validations
    wanted = min(images, most_images or images)
    measured = wanted if 2 * wanted <= allowed else max(1, int(allowed / LEAST_VALIDATIONS))
    validations = max(1, min(MOST_VALIDATIONS, int(allowed / measured)))
    steps = (left - validations * measured * durations.image) / durations.step
    validations = max(1, min(validations, int(steps / execution)))
    return Layout(validations, execution * max(1, int(steps / validations / execution)), measured)


def measure(
    model: Segmenter,
    settings: Settings,
    data: Dataset,
    loss: SegmentationLoss,
    positions: ClassPositions | None,
    build: float,
) -> Durations:
    """Trains a few steps and validates a few images, measures the seconds, and restores the model.

    Args:
        model: The network with its initial weights.
        settings: The settings.
        data: The data set.
        loss: The loss of one output.
        positions: Where the classes are, for rare-class sampling.
        build: The seconds that the network took to build.

    Raises:
        InputError: A file cannot be used.
    """
    pairs = data.find(settings.data.val_split)
    sample = builders.spread(data, settings.data.val_split, _TIMED_IMAGES)
    builders.compile_network(model, settings, loss, steps=1)
    before = variables(model)
    initial = values(before)
    on_error, sample_error = "fail", "fail"
    if settings.data.on_error == "skip":
        on_error, sample_error = Skipped(), Skipped()
        sample_error.images = len(pairs)  # the limit holds for all, not for the sample
    with readable_errors():
        batches = iter(builders.training_batches(settings, data, on_error, start=0, positions=positions))
        train_steps = train_function(model)
        calls = [_timed(lambda: float(train_steps(batches)["loss"])) for _ in range(_WARM_UP + _TIMED_STEPS)]
        step = statistics.mean(calls[_WARM_UP:]) / model.steps_per_execution
        making = [_timed(lambda: next(batches)) for _ in range(_PREFETCHED + _TIMED_STEPS)]
        validation = Validation(model, settings, sample, sample_error)
        silent = keras.callbacks.CallbackList([], model=model)
        first, second = (_timed(lambda: validation(silent)) for _ in range(2))
    assign(before, initial)
    images = min(_TIMED_IMAGES, len(pairs))
    measured = Durations(
        build=build,
        first_step=max(calls[0] - step, 0.0),
        step=step,
        batch=statistics.mean(making[_PREFETCHED:]),
        first_validation=max(first - second, 0.0),
        image=second / images,
    )
    return Durations(*map(mean_over_machines, vars(measured).values()))


def fit_into_time(settings: Settings, durations: Durations, seconds: float, data: Dataset) -> Settings:
    """Returns the settings of a training that takes `seconds`, and tells what it will do.

    Raises:
        InputError: See `lay_out`.
    """
    train, val = (len(data.find(split)) for split in (settings.data.train_split, settings.data.val_split))
    layout = lay_out(seconds, durations, val, settings.train.steps_per_execution, settings.evaluation.images)
    passes = layout.validations * layout.steps * settings.train.batch_size / train
    if passes < 1:
        missing = (1 - passes) * train / settings.train.batch_size * durations.step
        _log.warning(
            "warning: The time is too short to see each image once: that needs %s more. Training sees %.0f %% of the "
            "images.",
            _readable(missing / (1 - VALIDATING) / (1 - MARGIN)),
            100 * passes,
        )
    _log.info(
        "A step takes %.2f s and the validation of an image %.2f s. The time fits %d steps (%.1f passes over %d "
        "images) and %d validations of %s; training ends in about %s, the evaluation in %s.",
        durations.step,
        durations.image,
        layout.validations * layout.steps,
        passes,
        train,
        layout.validations,
        f"{layout.images} images" if layout.images < val else f"all {val} images",
        _readable(seconds * (1 - MARGIN) - durations.final(val)),
        _readable(seconds * (1 - MARGIN)),
    )
    return config.settings(
        settings.model_dump(),
        {
            "train": {"epochs": layout.validations, "steps_per_epoch": layout.steps, "validate_every": 1},
            "evaluation": {"images": layout.images if layout.images < val else None},
        },
    )


class Deadline(keras.callbacks.Callback):
    """Ends a training that is late, so that its last validation and the final evaluation still fit into the time.

    A resumed training has no deadline, and ends with the same bits as one that was neither late nor interrupted.

    Args:
        end: The `time.monotonic()` at which the time is over.
        durations: How long each part takes.
        settings: The settings of the training.
        data: The data set.
    """

    def __init__(self, end: float, durations: Durations, settings: Settings, data: Dataset) -> None:
        super().__init__()
        images = len(data.find(settings.data.val_split))
        self.end = end - durations.final(images) - (settings.evaluation.images or images) * durations.image

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the training after the current step."""
        if on_any_machine(time.monotonic() > self.end):
            _log.warning("warning: The time is over before the last step. The learning rate did not reach 0.")
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """Returns an empty state: a deadline belongs to its process."""
        return {}


def _timed(work: Any) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
