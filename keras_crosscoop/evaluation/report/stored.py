"""What a run's `metrics.json` and `history.csv` hold, declared: whatever else is in them was edited or is of old."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)


def _ordered(ends: list[float]) -> list[float]:
    if ends[0] > ends[1]:
        raise ValueError("the lower end comes first")
    return ends


Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]  # 1, but for rounding
Interval = Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_ordered)]
Row = list[NonNegativeInt]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)  # a later version may tell more


class OfClass(_Part):
    """Figures of a class."""

    iou: Share | None
    accuracy: Share | None
    dice: Share | None
    boundary_f: Share | None


class Calibration(_Part):
    """Bins of equal width."""

    pixels: Annotated[Row, Field(min_length=1)]
    confidence: list[Share | None]
    accuracy: list[Share | None]

    @model_validator(mode="after")
    def _same_bins(self) -> "Calibration":
        bins = [[value is None for value in values] for values in (self.confidence, self.accuracy)]
        if bins[0] != bins[1] or len(bins[0]) != len(self.pixels):
            raise ValueError("its lists are of different bins")
        return self


class Intervals(_Part):
    """Of some figures of an output."""

    mean_iou: Interval | None
    pixel_accuracy: Interval | None
    per_class: dict[str, Interval | None]


class Output(_Part):
    """Figures of an output."""

    mean_iou: Share | None
    pixel_accuracy: Share | None
    mean_accuracy: Share | None
    frequency_weighted_iou: Share | None
    mean_dice: Share | None
    mean_boundary_f: Share | None
    calibration_error: Share | None
    per_class: Annotated[dict[str, OfClass], Field(min_length=1)]
    confusion: list[Row]
    calibration: Calibration
    intervals: Intervals | None = None

    @model_validator(mode="after")
    def _square(self) -> "Output":
        if {len(self.confusion), *map(len, self.confusion)} != {len(self.per_class)}:
            raise ValueError("the confusion matrix has not a row and a column for each class")
        of_classes = zip(self.per_class.values(), self.confusion, strict=True)
        if any(of_class.iou is not None and not any(row) for of_class, row in of_classes):  # as earlier versions had it
            raise ValueError("its means are also over classes that no label has")
        return self


class Disagreement(_Part):
    """Of two networks."""

    share: Share | None
    top_right: Share | None
    bottom_right: Share | None
    neither_right: Share | None
    ensemble_right: Share | None


class OfImage(_Part):
    """Figures of an image."""

    image: str
    mean_iou: dict[str, Share | None]
    pixel_accuracy: dict[str, Share | None]


class Figures(_Part):
    """What `evaluate` gives of a split with labels, as `metrics.json` has it."""

    dataset: str
    split: str
    images: NonNegativeInt
    skipped: list[str]
    crop: PositiveInt | None
    window: PositiveInt | None
    overlap: Annotated[float, Field(ge=0, lt=1)]
    scales: Annotated[list[PositiveFloat], Field(min_length=1)]
    flip: bool
    boundary_tolerance: NonNegativeFloat
    seconds_per_image: PositiveFloat
    outputs: Annotated[dict[str, Output], Field(min_length=1)]
    disagreement: Disagreement | None
    per_image: list[OfImage]

    @model_validator(mode="after")
    def _same_classes_and_outputs(self) -> "Figures":
        if len({tuple(output.per_class) for output in self.outputs.values()}) > 1:
            raise ValueError("its outputs have different classes")
        names = self.outputs.keys()
        if any(each.keys() != names for image in self.per_image for each in (image.mean_iou, image.pixel_accuracy)):
            raise ValueError("an image has other outputs than the whole")
        return self


class Epoch(BaseModel):
    """A row of `history.csv`: the epoch, and whatever was measured then."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    epoch: PositiveInt


def as_dict(stored: BaseModel) -> dict[str, Any]:
    """What was stored, as plain values."""
    return stored.model_dump(exclude_unset=True)
