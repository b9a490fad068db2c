"""Finds out how somebody's own images are read: the range of their values, their channels and their orientation."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.file_index import spread
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError, counted
from keras_crosscoop.images.decoding import RawFile
from keras_crosscoop.images.inspection import ImageHeader, read_channels, read_header
from keras_crosscoop.images.io import label_size
from keras_crosscoop.images.reading import ImageReading
from keras_crosscoop.images.tiff import StackError
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

PERCENTILES = (0.1, 99.9)
_PER_IMAGE = 40_000  # values of an image that are looked at
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_NO_DATA = (-9999.0, -32768.0)  # values that often stand for missing data
_HUGE = 1e30  # larger values stand for missing data, too


class Values(NamedTuple):
    """A sample of the values of an image.

    Attributes:
        values: `(N,)`, without missing ones.
        missing: The share of missing values.
    """

    values: np.ndarray
    missing: float

    @classmethod
    def read(cls, file: ReadableFile, reading: ImageReading) -> "Values":
        """Reads a sample of the chosen channels' values.

        Raises:
            InputError: The image cannot be read.
        """
        channels = read_channels(file, reading)
        values = channels.values
        if reading.channels is not None and values.shape[-1] > 1:
            values = values[..., [number - 1 for number in reading.channels]]
        elif channels.has_alpha:
            values = values[..., :-1]
        values = values.reshape(-1)
        values = values[:: max(1, len(values) // _PER_IMAGE)].astype(np.float64)
        valid = np.isfinite(values) & (np.abs(values) < _HUGE) & ~np.isin(values, (*_NO_DATA, channels.no_data))
        return cls(values[valid], 1 - np.count_nonzero(valid) / max(1, len(values)))


class FoundRange(NamedTuple):
    """The range of the values of many images.

    Attributes:
        range: The values that become 0 and 255.
        percentiles: The 0.1 and 99.9 percentiles of all values.
        missing_share: The share of missing values.
    """

    range: tuple[float, float]
    percentiles: tuple[float, float]
    missing_share: float


def find_range(samples: Sequence[Values]) -> FoundRange:
    """Returns a plain range that holds nearly all values of all images; few outliers do not stretch it."""
    values = np.concatenate([sample.values for sample in samples])
    missing = float(np.mean([sample.missing for sample in samples]))
    if not values.size:
        return FoundRange((0.0, 1.0), (0.0, 0.0), missing)
    low, high = np.percentile(values, PERCENTILES).tolist()
    whole = bool((values == np.rint(values)).all())
    return FoundRange(plain_range(low, high, whole=whole), (low, high), missing)


def plain_range(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """Rounds a range outwards to plain numbers: to a bit depth, to 0 to 1 or -1 to 1, or else to two digits.

    Args:
        low: The value that few values are below.
        high: The value that few values are above.
        whole: Whether the values are integers.

    Example:
        >>> plain_range(960, 2144, whole=True)
        (0.0, 4095.0)
        >>> plain_range(0.24, 0.53, whole=False)
        (0.0, 1.0)
        >>> plain_range(-812, 2950, whole=True)
        (-900.0, 3000.0)
    """
    bounds = [2.0**bits - 1 for bits in _BIT_DEPTHS]
    for bound in bounds if whole else [1.0, *bounds]:
        if bound / 2 < high <= bound and 0 <= low <= bound / 2:
            return 0.0, bound
    if not whole and -1 <= low < 0 and 0.5 < high <= 1:
        return -1.0, 1.0
    if low == high:
        high = low + 1
    step = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    digits = max(0, -round(math.log10(step)))
    return (0.0 if 0 <= low <= 0.15 * high else round(low, digits)), round(high, digits)


MAX_HEADERS = 5000  # files of each split whose headers are read
MAX_DECODED = 200  # files of the training split that are decoded
_SWAPPED = (5, 6, 7, 8)  # EXIF orientations that swap height and width

Channels = tuple[int, int, int]


class ImagesFound(NamedTuple):
    """How images are read.

    Attributes:
        range: The values that become 0 and 255, of images with more than 8 bits; None if all have 8 bits.
        channels: The numbers of the channels that are red, green and blue; None for the usual ones.
        orientation: "stored" if the masks have the sizes of the images as stored; None if each mask's size decides.
        statements: What was found, in plain sentences.
        findings: Problems, warnings and notes.
    """

    range: tuple[float, float] | None
    channels: Channels | None
    orientation: Literal["exif", "stored"] | None
    statements: list[str]
    findings: list[Finding]


class _Image(NamedTuple):
    split: str
    file: ReadableFile
    mask: ReadableFile | None
    header: ImageHeader


def find_image_reading(pairs_by_split: Mapping[str, Sequence[Pair]], description: Description) -> ImagesFound:
    """Finds out how the images of a data set are read. What the description settles is not questioned.

    Headers of all images are read, or of `MAX_HEADERS` in each split, evenly spread. Values are read from images of the
    training split, at most `MAX_DECODED`.

    Args:
        pairs_by_split: The images and masks of each split.
        description: The description so far.
    """
    findings: list[Finding] = []
    images = [*_read_headers(pairs_by_split, description, findings)]
    if not images:
        return ImagesFound(description.range, description.channels, description.orientation, [], findings)
    channels, told = _find_channels(images, description, findings)
    orientation = description.orientation or _find_orientation(images, description, findings)
    reading = ImageReading(channels=channels, orientation="stored", slice=description.slice)
    found, told_range = _find_range(images, reading, description, findings)
    statements = [f"{_sizes(images)} {_kinds(images)}", *told, *told_range]
    return ImagesFound(found, channels, orientation, statements, findings)


def _read_headers(
    pairs_by_split: Mapping[str, Sequence[Pair]], description: Description, findings: list[Finding]
) -> Iterator[_Image]:
    reading = ImageReading(channels=description.channels, slice=description.slice)
    stacks: dict[str, str] = {}
    for split, pairs in pairs_by_split.items():
        sample = [pair for pair in spread(pairs, MAX_HEADERS) if not isinstance(pair[0], RawFile)]
        with ThreadPoolExecutor(threads()) as pool:
            headers = pool.map(partial(_attempt, read_header), (image for image, _ in sample), [reading] * len(sample))
            for (image, mask), header in zip(sample, headers, strict=True):
                if isinstance(header, StackError):
                    stacks[str(image)] = str(header)
                elif isinstance(header, ImageHeader):  # `Dataset.pairs` names damaged files
                    yield _Image(split, image, mask, header)
    if stacks:
        message = f"{counted(len(stacks), 'image')} cannot be used. {next(iter(stacks.values()))}"
        findings.append(Finding("problem", "", message, tuple(stacks)))


def _find_channels(
    images: Sequence[_Image], description: Description, findings: list[Finding]
) -> tuple[Channels | None, list[str]]:
    most = max(images, key=lambda image: image.header.channels)
    count = most.header.channels
    if description.channels is not None:
        short = [image for image in images if 1 < image.header.channels < max(description.channels)]
        if short:
            message = (
                f"`channels: {[*description.channels]}` names a channel that {counted(len(short), 'image')} lack: "
                f"{short[0].file} has {short[0].header.channels}"
            )
            findings.append(_finding("problem", message + ".", short))
        red, green, blue = description.channels
        return description.channels, [f"Channels {red}, {green} and {blue} are red, green and blue."]
    two = [image for image in images if image.header.channels == 2 and not _has_alpha(image)]
    if two:
        message = (
            f"{counted(len(two), 'image')} have 2 channels, and it is unknown which are red, green and blue: "
            f"{two[0].file}. Name them in {description.file.name}, such as `channels: [1, 2, 2]`."
        )
        findings.append(_finding("problem", message, two))
        return None, []
    more = [image for image in images if image.header.channels > 3 and image.header.is_multiband]
    spare = [image for image in more if image.header.channels > 4 or not _has_alpha(image)]
    if not spare:
        blended = more + [image for image in images if image.header.has_alpha and not image.header.is_multiband]
        if blended:
            whose = counted(len(blended), "image")
            return None, [
                f"Transparent pixels of {whose} become white, unless {description.file.name} names the `channels`."
            ]
        return None, []
    first = spare[0]
    left_out = "channel 4 is" if count == 4 else f"channels 4 to {count} are"
    told = (
        f"{counted(len(spare), 'image')} have {count} channels. The first three are taken as red, green and blue, and "
        f"{left_out} left out; `channels` in {description.file.name} chooses others, such as "
        f"`channels: [{count}, 2, 1]`"
    )
    if first.header.has_alpha:
        told += ". The file calls its last channel transparency, but its values do not look like it"
    if not first.header.is_rgb:  # any three bands may come first
        findings.append(_finding("warning", f"{told}. The first is {first.file}.", spare))
        return (1, 2, 3), []
    return (1, 2, 3), [f"{told}."]


def _has_alpha(image: _Image) -> bool:
    """Whether the last channel is transparency, by the header and by the pixels."""
    if not image.header.has_alpha or not image.header.is_multiband:
        return image.header.has_alpha
    channels = _attempt(read_channels, image.file, ImageReading())
    return isinstance(channels, InputError) or channels.has_alpha


def _find_orientation(
    images: Sequence[_Image], description: Description, findings: list[Finding]
) -> Literal["stored"] | None:
    turned = [image for image in images if image.header.orientation != 1]
    if not turned:
        return None
    votes, unclear = Counter(), []
    for image in turned:
        vote = _vote(image)
        votes[vote] += 1
        if vote is None and image.mask is not None:
            unclear.append(image)
    exif, stored = votes["exif"], votes["stored"]
    if exif and stored:
        message = (
            f"EXIF metadata turn {counted(exif + stored, 'image')}. The masks of {exif} of them were drawn on the "
            f"turned image, and those of {stored} on the image as stored, by their sizes. Each is read so."
        )
        findings.append(_finding("warning", message, turned))
    elif stored:
        message = (
            f"EXIF metadata turn {counted(stored, 'image')}, but the masks have the sizes of the images as stored. "
            "Images are not turned: `orientation: stored`."
        )
        findings.append(_finding("note", message, turned))
    if unclear and not (bool(exif) ^ bool(stored)):
        message = (
            f"EXIF metadata turn {counted(len(unclear), 'image')}, and the sizes of the masks do not tell whether they "
            f"were drawn on the turned images: {unclear[0].file}. The images are turned, as viewers show them. Look at "
            f"them with `crosscoop-tf data show`, and settle it in {description.file.name} with `orientation: exif` or "
            "`orientation: stored`."
        )
        findings.append(_finding("warning", message, unclear))
    if exif and stored:
        return None
    return "stored" if stored else None


def _vote(image: _Image) -> Literal["exif", "stored"] | None:
    """Returns the orientation under which the sizes of image and mask agree; None if both or none do."""
    if image.header.orientation not in _SWAPPED or image.mask is None or isinstance(image.mask, RawFile):
        return None
    height, width = image.header.size
    size = _attempt(partial(label_size, colours=True), image.mask)
    if height == width or size not in ((height, width), (width, height)):
        return None
    return "stored" if size == (height, width) else "exif"


def _find_range(
    images: Sequence[_Image], reading: ImageReading, description: Description, findings: list[Finding]
) -> tuple[tuple[float, float] | None, list[str]]:
    deep = [image for image in images if image.header.is_deep]
    if not deep:
        return description.range, []
    if len(deep) < len(images):
        message = (
            f"{counted(len(deep), 'image')} have more than 8 bits, and {len(images) - len(deep)} have 8 bits. The "
            "range of values is for the former; the latter are read as they are."
        )
        findings.append(_finding("warning", message, deep))
    if description.range is not None:
        low, high = description.range
        return description.range, [
            f"Values from {_text(low)} to {_text(high)} become 0 to 255, as {description.file.name} says."
        ]
    train = [image for image in deep if image.split == "train"] or deep
    sample = spread(train, MAX_DECODED)
    with ThreadPoolExecutor(threads()) as pool:
        read = partial(_attempt, partial(Values.read, reading=reading))
        values = [part for part in pool.map(read, (image.file for image in sample)) if isinstance(part, Values)]
    if not values:
        return None, []
    found = find_range(values)
    (low, high), (least, greatest) = found.range, found.percentiles
    told = (
        f"Values from {_text(low)} to {_text(high)} become 0 to 255: 99.8 % of the values in "
        f"{counted(len(values), 'training image')} are {_text(least)} to {_text(greatest)}. "
        f"`range` in {description.file.name} changes it."
    )
    if least == greatest:
        message = (
            f"All sampled images hold one value, {_text(least)}. Is it the right folder? The first is {sample[0].file}."
        )
        findings.append(_finding("problem", message, sample))
    if found.missing_share > 0:
        message = (
            f"{found.missing_share:.2%} of the sampled image values are missing (not a number, or marked as no data) "
            "and become black."
        )
        findings.append(_finding("note", message, sample))
    return found.range, [told]


def _sizes(images: Sequence[_Image]) -> str:
    sizes = Counter(image.header.size[::-1] for image in images)
    if len(sizes) == 1:
        ((width, height),) = sizes
        return f"All images have {width}x{height} pixels"
    smallest, largest = (bound(sizes, key=lambda size: size[0] * size[1]) for bound in (min, max))
    return f"Images have {len(sizes)} sizes, from {smallest[0]}x{smallest[1]} to {largest[0]}x{largest[1]} pixels"


def _kinds(images: Sequence[_Image]) -> str:
    kinds = Counter((image.header.channels, image.header.kind) for image in images)
    texts = [
        f"{channels} channel{'s' if channels > 1 else ''} of {kind}" for (channels, kind), _ in kinds.most_common()
    ]
    return f"and {' or '.join(texts)}."


def _finding(severity: str, message: str, images: Iterable[_Image]) -> Finding:
    images = [*images]
    splits = {image.split for image in images}
    return Finding(severity, splits.pop() if len(splits) == 1 else "", message, tuple(str(i.file) for i in images))


def _text(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"


def _attempt(call: Callable, *arguments: object) -> object:
    try:
        return call(*arguments)
    except InputError as error:
        return error
