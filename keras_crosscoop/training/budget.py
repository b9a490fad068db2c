"""Training within a given time: a short timed beginning settles how many steps and validations fit (`train.time`)."""

import logging
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_crosscoop import config
from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, OnError, Skipped, readable_errors
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
VALIDATING = 0.05  # of the time, at most, for validations during training
EVALUATING = 0.2  # of the time, at most, for the final evaluation
MOST_VALIDATIONS = 20
LEAST_VALIDATIONS = 3  # of which the best weights are kept
BEGINNING = 0.05  # of the time, about, for each part of the timed beginning
_WARM_UP, _TIMED_STEPS = 3, 8  # calls of the train function; the pipeline has prefetched the first batches
_PREFETCHED = 6  # batches, at least, that are ready before the first one is asked for
_FEW_IMAGES, _TIMED_IMAGES = 2, 6
# Estimates, on the safe side: the final evaluation also counts boundaries, and the report draws examples.
_EVALUATION = 1.4  # times the validation of the same images
_REPORT = 20.0  # seconds


@dataclass(frozen=True)
class Durations:
    """Measured seconds of the parts of a training.

    Attributes:
        build: Building the network and loading its initial weights.
        first_step: The first step, with its compilation.
        step: A further step.
        batch: Making the batch of a step, while nothing else runs.
        first_validation: The compilation of the validation.
        validation: Each validation, apart from its images.
        image: The validation of one image.
    """

    build: float
    first_step: float
    step: float
    batch: float
    first_validation: float
    validation: float
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
        final_images: The images of the final evaluation.
    """

    validations: int
    steps: int
    images: int
    final_images: int

    def seconds(self, durations: Durations) -> dict[str, float]:
        """Returns the planned seconds of all steps, of all validations, and of the evaluation with the report."""
        validation = durations.validation + self.images * durations.image
        return {
            "steps": durations.first_step + self.validations * self.steps * durations.step,
            "validation": durations.first_validation + self.validations * validation,
            "evaluation": durations.final(self.final_images),
        }


def lay_out(
    seconds: float, durations: Durations, images: int, execution: int = 1, most_images: int | None = None
) -> Layout:
    """Lays out a training that ends after `seconds`, with validations and the final evaluation.

    The final evaluation takes at most `EVALUATING` of the time, and validations at most `VALIDATING`. If these are too
    short for all images, a part of the images is measured.

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
        >>> times = {"build": 5, "first_step": 15, "step": 1, "batch": 0.1}
        >>> times |= {"first_validation": 10, "validation": 0.5, "image": 0.1}
        >>> lay_out(1800, Durations(**times), images=100)
        Layout(validations=7, steps=222, images=100, final_images=100)
    """
    usable = (1 - MARGIN) * seconds
    final_images = min(images, max(1, int(EVALUATING * usable / (_EVALUATION * durations.image))))
    fixed = durations.first_step + durations.first_validation + durations.final(final_images)
    left = usable - fixed
    if left < (least := execution * durations.step + durations.validation + durations.image):
        raise InputError(
            f"Training a step and the evaluation take {(fixed + least) / (1 - MARGIN):.0f} s. Give more with --time. "
            f"Received: {max(seconds, 0):.0f} s left after the beginning"
        )
    wanted = min(images, most_images or images)
    if 2 * (durations.validation + wanted * durations.image) > VALIDATING * left:
        each = VALIDATING * left / LEAST_VALIDATIONS - durations.validation
        wanted = max(1, min(wanted, int(each / durations.image)))
    validation = durations.validation + wanted * durations.image
    validations = max(1, min(MOST_VALIDATIONS, int(VALIDATING * left / validation)))
    steps = (left - validations * validation) / durations.step
    validations = max(1, min(validations, int(steps / execution)))
    return Layout(validations, execution * max(1, int(steps / validations / execution)), wanted, final_images)


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
    split, limit = settings.data.val_split, BEGINNING * settings.train.seconds
    builders.compile_network(model, settings, loss, steps=1)
    before = variables(model)
    initial = values(before)

    def on_error() -> OnError:
        """Returns a new list of skipped files, whose limit holds for the whole split; or "fail"."""
        skipped = Skipped()
        skipped.images = len(data.find(split))
        return skipped if settings.data.on_error == "skip" else "fail"

    def validation_of(images: int) -> Callable[[], Any]:
        """Returns the validation of some images."""
        validation = Validation(model, settings, data.sample(split, images), on_error())
        return lambda: validation(keras.callbacks.CallbackList([], model=model))

    with readable_errors():
        train_on = Skipped() if settings.data.on_error == "skip" else "fail"
        batches = iter(builders.training_batches(settings, data, train_on, start=0, positions=positions))
        train_steps = train_function(model)
        first_step, *steps = _timed(lambda: float(train_steps(batches)["loss"]), _WARM_UP + _TIMED_STEPS, limit)
        step = statistics.mean(steps[_WARM_UP - 1 :] or steps[-1:]) / model.steps_per_execution
        making = _timed(lambda: next(batches), _PREFETCHED + _TIMED_STEPS, limit)
        few, several = (min(images, len(data.find(split))) for images in (_FEW_IMAGES, _TIMED_IMAGES))
        first, second = _timed(validation_of(few), 2)
        image, overhead = second / few, 0.0
        if several > few and not on_any_machine(several * image > limit):
            (last,) = _timed(validation_of(several), 1)
            image = max(last - second, 0.1 * last) / (several - few)  # a tenth, in case the second was delayed
            overhead = max(second - few * image, 0.0)
    assign(before, initial)
    measured = Durations(
        build=build,
        first_step=max(first_step - step, 0.0),
        step=step,
        batch=statistics.mean(making[_PREFETCHED:] or making),
        first_validation=max(first - second, 0.0),
        validation=overhead,
        image=image,
    )
    return Durations(*map(mean_over_machines, vars(measured).values()))


def fit_into_time(
    settings: Settings, durations: Durations, seconds: float, data: Dataset
) -> tuple[Settings, dict[str, float]]:
    """Lays out a training of `seconds`, and tells what it will do.

    Returns:
        The settings, with numbers of steps and validations instead of a time; and the planned seconds of each part.

    Raises:
        InputError: See `lay_out`.
    """
    train, val = (len(data.find(split)) for split in (settings.data.train_split, settings.data.val_split))
    layout = lay_out(seconds, durations, val, settings.train.steps_per_execution, settings.evaluation.images)
    layout = replace(layout, final_images=min(layout.final_images, settings.evaluation.final_images or val))
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
        "images) and %d validations of %s; training ends in about %s, and the evaluation takes %s.",
        durations.step,
        durations.image,
        layout.validations * layout.steps,
        passes,
        train,
        layout.validations,
        f"{layout.images} images" if layout.images < val else f"all {val} images",
        _readable(seconds * (1 - MARGIN) - durations.final(layout.final_images)),
        _readable(durations.final(layout.final_images)),
    )
    if layout.final_images < val:
        _log.info(
            "The final evaluation measures %d of %d images; `crosscoop-tf evaluate` measures all.",
            layout.final_images,
            val,
        )
    numbers = {"time": None, "epochs": layout.validations, "steps_per_epoch": layout.steps, "validate_every": 1}
    evaluation = {
        "images": layout.images if layout.images < val else None,
        "final_images": layout.final_images if layout.final_images < val else None,
    }
    laid_out = config.settings(settings.model_dump(), {"train": numbers, "evaluation": evaluation})
    return laid_out, layout.seconds(durations)


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
        images, options = len(data.find(settings.data.val_split)), settings.evaluation
        validation = durations.validation + (options.images or images) * durations.image
        self.end = end - durations.final(options.final_images or images) - validation

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the training after the current step."""
        if on_any_machine(time.monotonic() > self.end):
            _log.warning("warning: The time is over before the last step. The learning rate did not reach 0.")
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """Returns an empty state: a deadline belongs to its process."""
        return {}


def _timed(work: Callable[[], Any], calls: int, limit: float = math.inf) -> list[float]:
    """Returns the seconds of each call; after two, calls end once all but the first have taken `limit` seconds."""
    seconds: list[float] = []
    while len(seconds) < calls and (len(seconds) < 2 or not on_any_machine(sum(seconds[1:]) > limit)):
        start = time.monotonic()
        work()
        seconds.append(time.monotonic() - start)
    return seconds


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
