"""Going on without the files that cannot be used, within limits."""

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import ReadableFile


class Skipped:
    """The samples of a split that `load_dataset(..., on_error=...)` skipped, as a file of them is bad.

    Attributes:
        by_image: what is wrong with each of them.
        images: how many the split has; the most that `load_dataset` was asked for, where it was asked for parts of it.

    Args:
        most: the share of the split's images that may be bad.
    """

    def __init__(self, most: float = 0.01) -> None:
        self.most = most
        self.by_image: dict[str, str] = {}
        self.images = 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, once an image."""
        return tuple(self.by_image.values())

    def add(self, image: ReadableFile, error: InputError) -> None:
        """Remembers why the sample of an image cannot be used; of several reasons, the first.

        Raises:
            InputError: it is one too many.
        """
        self.by_image.setdefault(str(image), str(error))
        if len(self.by_image) > self.most * self.images:
            raise InputError(
                f"{len(self.by_image)} of {self.images} images cannot be used, more than the {self.most:.0%} that may "
                f"be skipped. Run `crosscoop-tf data check` and mend what it lists. The last one: {error}"
            )
