"""Going on without the files that cannot be used, within limits."""

from keras_crosscoop.errors import InputError


class Skipped:
    """The bad files that `load_dataset(..., on_error=...)` skipped.

    Attributes:
        reasons: what was wrong with each bad file, once for each.

    Args:
        images: how many the split has.
        most: the share of them that may be bad.
    """

    def __init__(self, images: int, most: float = 0.01) -> None:
        self.images = images
        self.most = most
        self._reasons: dict[str, None] = {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """See the class."""
        return tuple(self._reasons)

    def add(self, error: InputError) -> None:
        """Remembers why a file cannot be used.

        Raises:
            InputError: it is one too many.
        """
        self._reasons[str(error)] = None
        if len(self._reasons) > self.most * self.images:
            raise InputError(
                f"{len(self._reasons)} of {self.images} images cannot be used, more than the {self.most:.0%} that may "
                f"be skipped. Run `crosscoop-tf data check` and mend what it lists. The last one: {error}"
            )
