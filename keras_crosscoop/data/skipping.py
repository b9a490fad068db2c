"""Skipping of unusable files, up to a limit."""

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import ReadableFile


class Skipped:
    """The unusable samples that `load_dataset(..., on_error=Skipped())` has skipped.

    Attributes:
        by_image: The error of each skipped image.
        images: The number of images in the split, which `load_dataset` sets; for several streams, the largest number.

    Args:
        limit: The largest allowed share of unusable images.

    Example:
        >>> from keras_crosscoop import load_dataset
        >>> from keras_crosscoop.data import Skipped
        >>> skipped = Skipped()
        >>> len(list(load_dataset("folder", "train", data_dir="MY_DATA", on_error=skipped)))
        4
        >>> skipped.reasons
        ()
    """

    def __init__(self, limit: float = 0.01) -> None:
        self.limit = limit
        self.by_image: dict[str, str] = {}
        self.images = 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """One error message per image."""
        return tuple(self.by_image.values())

    def add(self, image: ReadableFile, error: InputError) -> None:
        """Records the first error of an image.

        Raises:
            InputError: Too many images are unusable.
        """
        self.by_image.setdefault(str(image), str(error))
        if len(self.by_image) > self.limit * self.images:
            raise InputError(
                f"{len(self.by_image)} of {self.images} images cannot be used, more than the {self.limit:.0%} that may "
                f"be skipped. Run `crosscoop-tf data check`, and fix the files that it lists. The last one: {error}"
            )
