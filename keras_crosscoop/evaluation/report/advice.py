"""One sentence about what would help a run most."""

from collections.abc import Mapping
from typing import Any

from keras_crosscoop.config import Settings
from keras_crosscoop.evaluation.run_metrics import History

FEW_IMAGES = 0.05  # of the training images, with a class
WEAK = 0.6  # times the mean IoU
OVERFITTED = 1.5  # times the training loss
FEW_PASSES = 30  # over the training images


def advise(
    settings: Settings, metrics: Mapping[str, Any], history: History, data_check: Mapping[str, Any] | None
) -> str | None:
    """Returns what would help most now, from what was measured: images of a class, more images, time, or size.

    Args:
        settings: The settings of the run.
        metrics: The result of `evaluate`.
        history: The metrics of each epoch.
        data_check: The look at the labels before training; None if it is missing.

    Returns:
        A sentence, or None if nothing can be said.
    """
    if not history or data_check is None:
        return None
    *_, output = metrics["outputs"]
    train = data_check["splits"][settings.data.train_split]
    classes, mean = metrics["outputs"][output]["per_class"], metrics["outputs"][output]["mean_iou"] or 0.0
    ious = {name: values["iou"] for name, values in classes.items() if values["iou"] is not None}
    name = min(ious, key=ious.get, default=None)
    if name and ious[name] < WEAK * mean and (images := train["images_with"][name]) < FEW_IMAGES * train["images"]:
        return (
            f"More images of {name}: its IoU is {100 * ious[name]:.1f} %, and only {images} of {train['images']} "
            f"training images{' of a sample' if train['images'] < train['pairs'] else ''} show it."
        )
    last = next((row for row in reversed(history) if "val_loss" in row), None)
    if last and last["val_loss"] > OVERFITTED * last["loss"] > 0:
        ratio = last["val_loss"] / last["loss"]
        return f"More training images: the loss on the validation images is {ratio:.1f} times that of the training."
    options = settings.train
    steps = len(history) * (options.steps_per_epoch or train["pairs"] / options.batch_size)
    passes = steps * options.batch_size / max(train["pairs"], 1)
    if passes < FEW_PASSES:
        return f"More time: each training image was seen {passes:.0f} times; 50 to 200 are usual."
    height, width = (train["sizes"][0][side] for side in ("height", "width"))
    if settings.data.crop_size < 0.75 * min(height, width):
        return f"Larger crops: they show {settings.data.crop_size} pixels of images of {height}x{width}."
    return "Larger backbones: neither time nor images are lacking by what was measured."
