"""Data sets of TensorFlow Datasets, by name: any builder whose examples hold an image and a mask.

Examples are read at random, without a split in memory: from TFRecord files by the position of each record, which is
found once when the split is opened, and from ArrayRecord files by TFDS's data source.
"""

import contextlib
import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.coding_discovery import find_coding
from keras_crosscoop.data.own.description import FILE_NAMES, Description, read_description
from keras_crosscoop.data.own.discovery import SPLIT_SEED, VAL_SHARE, coding, palette
from keras_crosscoop.data.own.image_content import find_image_reading
from keras_crosscoop.data.own.mask_content import sample_masks
from keras_crosscoop.data.own.splitting import split_by_groups
from keras_crosscoop.data.records.tfrecord import list_records
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError, describe, reason

PREFIX = "tfds:"

_IMAGES = ("image", "image_left", "input", "photo")  # names of features, in the order of preference
_MASKS = (
    "segmentation_mask",
    "segmentation_label",
    "segmentation",
    "semantic_segmentation",
    "segmentation_map",
    "label_map",
    "annotation",
    "mask",
    "label",
)
_FILE_NAMES = ("file_name", "filename", "image/filename", "image_id", "id", "name")
_SPLITS = {"train": ("train", "training"), "val": ("validation", "val", "valid"), "test": ("test", "testing")}

# What the features of well-known builders do not tell
_VALUES = {"oxford_iiit_pet": {1: "pet", 2: "background", 3: "border"}}


@dataclass(frozen=True)
class _Example:
    """One example of a split.

    Attributes:
        read: Returns its bytes, a `tf.train.Example`.
        place: The place of the example, for errors.
        features: The builder's features.
    """

    read: Callable[[], bytes] = field(repr=False)
    place: str
    features: Any = field(repr=False)

    def values(self) -> Any:
        """Returns the features by name, as protobuf messages.

        Raises:
            InputError: The example is damaged.
        """
        import tensorflow as tf

        try:
            return tf.train.Example.FromString(self.read()).features.feature
        except InputError:
            raise
        except Exception as error:  # protobuf and ArrayRecord raise errors of several types
            raise InputError(
                f"A record is damaged ({describe(error)}). Prepare the data set again. Received: {self.place}"
            ) from error


@dataclass(frozen=True)
class _EncodedFile:
    """An image file in a feature of an example, as a `ReadableFile`."""

    example: _Example
    feature: str

    @property
    def name(self) -> str:
        values = self.example.values()
        for key in _FILE_NAMES:
            if key in values and (texts := values[key].bytes_list.value):
                return texts[0].decode("utf-8", "replace")
        return self.example.place.rpartition("/")[2].replace(", record ", "-")

    def read_bytes(self) -> bytes:
        values = self.example.values()
        if self.feature not in values or not values[self.feature].bytes_list.value:
            raise InputError(
                f"A record has no {self.feature}. Prepare the data set again. Received: {self.example.place}"
            )
        return values[self.feature].bytes_list.value[0]

    def open(self, mode: str = "rb") -> BinaryIO:
        return BytesIO(self.read_bytes())

    def __str__(self) -> str:
        return f"{self.example.place}, {self.feature}"


class _Tensor(_EncodedFile):
    """A tensor in a feature of an example, as a PNG file."""

    def read_bytes(self) -> bytes:
        """Encodes the tensor."""
        array = self.example.features.deserialize_example_np(self.example.read())[self.feature]
        array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
        if array.dtype != np.uint8:
            if array.min() < 0 or array.max() > 65535:
                raise InputError(f"A mask's values must lie in 0 to 65535. Received: {self}")
            array = array.astype(np.uint8 if array.max() < 256 else np.uint16)
        png = BytesIO()
        Image.fromarray(array).save(png, "PNG", compress_level=1)
        return png.getvalue()


def open_tfds(name: str, data_dir: Path | None = None, known: Description | None = None) -> Dataset:
    """Opens a data set of TensorFlow Datasets that was prepared before.

    Classes come from the mask's feature if it names them, else from the values that occur. A `dataset.yaml` in the
    folder `data_dir/NAME` settles `names`, `values` and `ignore`.

    Args:
        name: "tfds:" and the name of a builder, as in "tfds:oxford_iiit_pet", if need be with its configuration and
            version, "tfds:NAME/CONFIG:1.0.0". With "#FEATURE", the feature that holds the mask.
        data_dir: The folder of all data sets of TFDS; by default TFDS's own.
        known: How labels and images were read earlier, for example in a run. The `dataset.yaml` is then not read.

    Raises:
        InputError: There is no such builder, it was not prepared, or it has no image, no mask or several.
    """
    builder = _prepared(name, data_dir)
    image_feature, mask_feature = _features(name, builder, name.partition("#")[2])
    split_pairs = _pairs(name, builder, image_feature, mask_feature)
    statements = [f"Images are feature {image_feature!r} of {builder.name}, and masks are feature {mask_feature!r}."]
    if "val" not in split_pairs:
        count = len(split_pairs["train"])
        split_pairs["train"], split_pairs["val"] = split_by_groups(split_pairs["train"], VAL_SHARE, SPLIT_SEED)
        statements.append(f"There is no validation split: {len(split_pairs['val'])} of {count} images become one.")
    described = known or _described(builder, mask_feature)
    found = find_coding(sample_masks(split_pairs), [], described)
    reading = find_image_reading(split_pairs, described)
    description = found.complete(described).updated(
        range=reading.range,
        channels=reading.channels,
        orientation=reading.orientation,
    )
    findings: tuple[Finding, ...] = (*found.findings, *reading.findings)
    return Dataset(
        name=name,
        classes=description.names,
        palette=palette(description),
        splits=tuple(split for split in _SPLITS if split in split_pairs),
        find=lambda split: list(split_pairs[split]),
        coding=coding(description),
        reading=description.reading,
        check_headers=False,
        statements=(*statements, *found.statements, *reading.statements),
        findings=findings,
    )


def download(name: str, data_dir: Path | None = None) -> Path:
    """Downloads and prepares a data set of TensorFlow Datasets, unless it is there.

    Args:
        name: See `open_tfds`.
        data_dir: The folder of all data sets of TFDS; by default TFDS's own.

    Returns:
        The folder of the data set.

    Raises:
        InputError: There is no such builder, or it cannot be downloaded or prepared.
    """
    builder = _builder(name, data_dir)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answers of commands
            builder.download_and_prepare()
    except Exception as error:  # builders raise errors of any type
        raise InputError(
            f"The data set cannot be downloaded or prepared ({describe(error)}). Does it need a package, or files that "
            f"you must fetch yourself? See tensorflow.org/datasets/catalog/{builder.name}. Received: {name}"
        ) from error
    return Path(builder.data_dir)


def _prepared(name: str, data_dir: Path | None) -> Any:
    """Returns a builder whose records exist."""
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        where = f" --data-dir {data_dir}" if data_dir else ""
        raise InputError(
            f"The data set is not there yet. Download it: crosscoop-tf data prepare {name.partition('#')[0]} --download"
            f"{where}, or name TFDS's folder with --data-dir. Received: {name}, expected in {builder.data_dir}"
        )
    return builder


def _builder(name: str, data_dir: Path | None) -> Any:
    import tensorflow_datasets as tfds

    builder_name = name.removeprefix(PREFIX).partition("#")[0]
    try:
        return tfds.builder(builder_name, data_dir=None if data_dir is None else str(data_dir))
    except Exception as error:  # TFDS raises errors of many types for a wrong name
        raise InputError(
            f"TensorFlow Datasets has no such data set ({reason(error)[:150]}). {_near(builder_name)} "
            f"Received: {name}{f' in {data_dir}' if data_dir else ''}"
        ) from error


def _near(name: str) -> str:
    import tensorflow_datasets as tfds

    near = difflib.get_close_matches(name.partition("/")[0], tfds.list_builders(), n=1)
    return f'Did you mean "{PREFIX}{near[0]}"?' if near else "See tensorflow.org/datasets/catalog."


def _features(name: str, builder: Any, mask: str) -> tuple[str, str]:
    """Returns the names of the features that hold image and mask."""
    features = {key: feature for key, feature in sorted(builder.info.features.items()) if _is_picture(feature)}
    listed = ", ".join(f"{key} {tuple(feature.shape)}" for key, feature in sorted(builder.info.features.items()))
    masks = [key for key in _MASKS if key in features and _is_flat(features[key])]
    named = [key for key, feature in features.items() if hasattr(feature, "names")]  # a LabeledImage
    masks = [mask] if mask in features else named or masks
    if mask and mask not in features:
        raise InputError(f"The builder has no picture of that name. Its features are {listed}. Received: {name}")
    if len(masks) != 1:
        problem = "has several masks" if masks else "has no mask among its features"
        choices = " or ".join(f"{name.partition('#')[0]}#{key}" for key in masks or features or ("FEATURE",))
        raise InputError(f"The data set {problem}. Name one: {choices}. Its features are {listed}. Received: {name}")
    coloured = [key for key in features if key not in masks and features[key].shape[-1] in (3, 4, None)]
    others = [key for key in features if key not in masks]
    images = [key for key in _IMAGES if key in others] or coloured or others
    if not images:
        raise InputError(f"The data set has no image. Its features are {listed}. Received: {name}")
    return images[0], masks[0]


def _is_picture(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Image):
        return True
    is_tensor = type(feature) is tfds.features.Tensor and np.issubdtype(feature.np_dtype, np.integer)
    return is_tensor and len(feature.shape) in (2, 3) and (len(feature.shape) == 2 or feature.shape[-1] in (1, 3))


def _is_flat(feature: Any) -> bool:
    """Returns whether a picture has one channel, or may hold a mask in colours."""
    return len(feature.shape) == 2 or feature.shape[-1] in (1, 3, None)


def _described(builder: Any, mask_feature: str) -> Description:
    """Returns what is known about the classes."""
    for folder in Path(builder.data_dir).parents:  # NAME/VERSION or NAME/CONFIG/VERSION
        file = folder / FILE_NAMES[0]
        if folder.name == builder.name and file.is_file():
            return read_description(file)
    names = getattr(builder.info.features[mask_feature], "names", None)
    if names:
        return Description(path=Path(builder.data_dir), names=tuple(names))
    if values := _VALUES.get(builder.name):
        return Description(path=Path(builder.data_dir), names=tuple(values.values()), values=values)
    return Description(path=Path(builder.data_dir))


def _pairs(name: str, builder: Any, image: str, mask: str) -> dict[str, list[Pair]]:
    """Returns the images and masks of each split."""
    import tensorflow_datasets as tfds

    def as_file(example: _Example, key: str) -> _EncodedFile:
        kind = _EncodedFile if isinstance(builder.info.features[key], tfds.features.Image) else _Tensor
        return kind(example, key)

    pairs = {}
    for split, names in _SPLITS.items():
        for theirs in names:
            if theirs in builder.info.splits and builder.info.splits[theirs].num_examples:
                pairs[split] = [(as_file(item, image), as_file(item, mask)) for item in _examples(builder, theirs)]
                break
    if "train" not in pairs:
        there = ", ".join(builder.info.splits) or "none"
        raise InputError(f'The data set has no split "train". Its splits are: {there}. Received: {name}')
    return pairs


def _examples(builder: Any, split: str) -> Sequence[_Example]:
    import tensorflow_datasets as tfds

    features, info = builder.info.features, builder.info.splits[split]
    if builder.info.file_format.value == "tfrecord":
        return [
            _Example(record.data, str(record), features)
            for path, count in zip(info.filepaths, info.shard_lengths, strict=True)
            for record in list_records(Path(path), count)
        ]
    if builder.info.file_format in tfds.core.FileFormat.with_random_access():
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source = builder.as_data_source(split, deserialize_method=raw)
        return [
            _Example(lambda number=number: source[number], f"{builder.data_dir}/{split}, record {number}", features)
            for number in range(len(source))
        ]
    raise InputError(
        f"Records must be TFRecord or ArrayRecord files, not {builder.info.file_format.value}. Prepare the data set in "
        f"one of these formats. Received: {builder.data_dir}"
    )
