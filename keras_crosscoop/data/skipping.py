"""Going on without the files that cannot be used, within limits."""

from keras_crosscoop.errors import InputError
from keras_crosscoop.files import Stored


class Skipped:
    """The samples of a split that `load_dataset(..., on_error=...)` skipped, as a file of them is bad.

    Attributes:
        reasons: what is wrong with each of them.

    Args:
        images: how many the split has.
        most: the share of them that may be bad.
    """

    def __init__(self, images: int, most: float = 0.01) -> None:
        self.images = images
        self.most = most
        self._reasons: dict[str, str] = {}  # by image

    @property
    def reasons(self) -> tuple[str, ...]:
        """See the class."""
        return tuple(self._reasons.values())

    def add(self, image: Stored, error: InputError) -> None:
        """Remembers why the sample of an image cannot be used; of several reasons, the first.

        Raises:
            InputError: it is one too many.
        """
        self._reasons.setdefault(str(image), str(error))
        if len(self._reasons) > self.most * self.images:
            raise InputError(
                f"{len(self._reasons)} of {self.images} images cannot be used, more than the {self.most:.0%} that may "
                f"be skipped. Run `crosscoop-tf data check` and mend what it lists. The last one: {error}"
            )
