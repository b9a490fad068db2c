"""The description of somebody's own data set, `dataset.yaml`, and the templates of its paths."""

import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from keras_crosscoop.data.coding import Stored, text_of
from keras_crosscoop.errors import InputError, first_failure, shorten, unknown_name
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.images.reading import DESCRIPTION_FILE, ImageReading
from keras_crosscoop.labels import INVALID_LABEL
from keras_crosscoop.system import yaml_files

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Template(BaseModel):
    """A path relative to the folder of the data set, with placeholders in braces.

    `{name}` stands for any part of a path, also with subfolders. Every other placeholder, such as `{split}`, stands for
    a part within one folder's or file's name. A template without a suffix fits files with any suffix.

    Example:
        >>> Template(text="images/{split}/{name}.jpg").match("images/train/cars/7.jpg")
        {'split': 'train', 'name': 'cars/7'}
        >>> Template(text="masks/{split}/{name}_mask.png").fill({"split": "train", "name": "cars/7"})
        'masks/train/cars/7_mask.png'
    """

    model_config = ConfigDict(frozen=True)

    text: str

    @property
    def placeholders(self) -> list[str]:
        """The names of the placeholders, in their order."""
        return _PLACEHOLDER.findall(self.text)

    @property
    def has_suffix(self) -> bool:
        """Whether the template names the files' suffix."""
        return "." in self.text.rpartition("}")[2]

    @cached_property
    def _pattern(self) -> re.Pattern:
        texts = _PLACEHOLDER.split(self.text)  # text, name, text, ...
        parts, seen = [re.escape(texts[0])], set()
        for name, text in zip(texts[1::2], texts[2::2], strict=True):
            if name in seen:
                parts.append(f"(?P={name})")
            else:
                parts.append(f"(?P<{name}>{'.+' if name == 'name' else '[^/]+?'})")
            seen.add(name)
            parts.append(re.escape(text))
        return re.compile("".join(parts))

    def match(self, path: str) -> dict[str, str] | None:
        """Returns the values of the placeholders for a path with forward slashes; None if it does not fit."""
        if not self.has_suffix:
            path = str(PurePosixPath(path).with_suffix(""))
        fit = self._pattern.fullmatch(path)
        return fit and fit.groupdict()

    def fill(self, values: dict[str, str]) -> str:
        """Returns the path for values of the placeholders."""
        return _PLACEHOLDER.sub(lambda placeholder: values[placeholder[1]], self.text)


SPLITS = ("train", "val", "test")
CODING_ENTRIES = {
    "names",
    "values",
    "ignore",
    "nearest",
    "colours",
    "range",
    "channels",
    "slice",
}  # not about files
FILE_NAMES = (DESCRIPTION_FILE, "data.yaml", "dataset.yml", "data.yml")  # in the folder of a data set

# Keys of other tools' files that describe nothing here.
_FOREIGN_KEYS = {"nc", "download", "roboflow", "yaml_file", "kpt_shape", "flip_idx", "stuff_id"}
_COLOUR = re.compile(r"#([0-9a-fA-F]{6})|(?:rgb)?\(?\s*(\d+)\s*[, ]\s*(\d+)\s*[, ]\s*(\d+)\s*\)?")

SplitSource = str | tuple[str, ...] | Annotated[float, Field(gt=0, lt=1)]  # see `Description.train`


def split_source(names: Collection[str]) -> SplitSource:
    """Returns one name as it is, and several as a tuple."""
    return next(iter(names)) if len(names) == 1 else tuple(names)


def parse_stored(value: Any) -> Stored:
    """Reads a stored value: an integer, or a colour as "#804080", "128, 64, 128" or `[128, 64, 128]`.

    Raises:
        ValueError: It is neither.

    Example:
        >>> parse_stored("#804080"), parse_stored("255")
        ((128, 64, 128), 255)
    """
    if isinstance(value, bool):
        raise ValueError("it must be a stored value or a colour, not true or false")
    if isinstance(value, int):
        return value
    if isinstance(value, list | tuple) and len(value) == 3:
        value = ", ".join(map(str, value))
    text = str(value).strip()
    if re.fullmatch(r"-?\d{1,9}", text):
        return int(text)
    if colour := _COLOUR.fullmatch(text):
        rgb = tuple(bytes.fromhex(colour[1])) if colour[1] else tuple(map(int, colour.groups()[1:]))
        if max(rgb) <= 255:
            return rgb
    raise ValueError(
        f"it must be an integer, or a colour such as '#804080' or [128, 64, 128], not {shorten(value, 40)}"
    )


def _parse_colour(value: Any) -> RGB:
    if not isinstance(colour := parse_stored(value), tuple):
        raise ValueError("it must be a colour such as '#804080'")
    return colour


_StoredValue = Annotated[Stored, BeforeValidator(parse_stored)]
_Number = Annotated[int, Field(ge=1)]
_Colour = Annotated[RGB, BeforeValidator(_parse_colour)]


class Description(BaseModel):
    """A data set of images and masks. What is None is found out from the files (`discovery.describe`).

    Attributes:
        path: The folder of the data set, to which all other paths are relative; by default that of the file.
        images: The template of the images' paths, see `Template`.
        masks: The template of the masks' paths, with the placeholders of `images`. Without `images`, `{name}` is the
            image's path below the folder that `train`, `val` or `test` names, without the suffix. `{class}` stands for
            the name of a class if there is one file per class.
        train: The images for training: a folder, a glob, a `.txt` list of images (or of images and masks), a `.csv` of
            images and masks, or several of these. If `images` has a placeholder `{split}`, also a value of it.
        val: The images for validation; or a share of the training images, such as 0.2, drawn by a fixed seed.
        test: The images for testing, which may have no masks.
        names: The names of the classes in the order of their ids.
        values: The name of the class of each stored value or colour. By default, the values are the ids of `names`.
        ignore: Stored values or colours without a class (void).
        nearest: Whether other stored values stand for the nearest listed one.
        colours: The colours in which classes are drawn.
        range: The image values that become black and white, of images with more than 8 bits.
        channels: The numbers of the image's channels that are red, green and blue, of images with more than three.
        orientation: Whether images are turned as their EXIF orientation says ("exif"), or not ("stored").
        slice: The number of the slice to read from each image that is a stack of slices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    _file: Path | None = PrivateAttr(None)
    path: Path | None = None
    images: str | None = None
    masks: str | None = None
    train: SplitSource | None = None
    val: SplitSource | None = None
    test: SplitSource | None = None
    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=INVALID_LABEL)] | None = None
    values: dict[_StoredValue, str] | None = None
    ignore: tuple[_StoredValue, ...] | None = None
    nearest: bool | None = None
    colours: dict[str, _Colour] | None = None
    range: tuple[float, float] | None = None
    channels: tuple[_Number, _Number, _Number] | None = None
    orientation: Literal["exif", "stored"] | None = None
    slice: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _understand_other_tools(cls, content: Any) -> Any:
        """Accepts the keys of Ultralytics' YAML, and its names as a mapping of ids."""
        if not isinstance(content, Mapping):
            raise ValueError("it must hold keys such as `train` and `names`")
        content = {key: value for key, value in content.items() if key not in _FOREIGN_KEYS}
        if isinstance(content.get("names"), Mapping):
            by_id = {parse_stored(key): str(name) for key, name in content["names"].items()}
            content["names"] = [by_id[key] for key in sorted(by_id)]
            if sorted(by_id) != list(range(len(by_id))):
                content.setdefault("values", by_id)
        if isinstance(content.get("ignore"), int | str):
            content["ignore"] = [content["ignore"]]
        return content

    @field_validator("names")
    @classmethod
    def _check_unique(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (twice := [name for name in names if names.count(name) > 1]):
            raise ValueError(f"two classes are named {twice[0]!r}")
        return names

    @model_validator(mode="after")
    def _check_values(self) -> "Description":
        listed = [*(self.values or ()), *(self.ignore or ())]
        if len({isinstance(key, tuple) for key in listed}) > 1:
            raise ValueError("`values` and `ignore` must hold either integers or colours, not both")
        if self.names is not None and (unknown := {*(self.values or {}).values()} - {*self.names}):
            raise ValueError(f"`values` names the class {min(unknown)!r}, which is not in `names`")
        return self

    @field_validator("range")
    @classmethod
    def _check_range(cls, values: tuple[float, float] | None) -> tuple[float, float] | None:
        if values is not None and values[0] >= values[1]:
            raise ValueError("the range must rise, as [0, 4095] does")
        return values

    @property
    def file(self) -> Path:
        """The YAML file that was read; without one, that in which a user can write the description."""
        return self._file or (self.path or Path()) / DESCRIPTION_FILE

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, of `names` or of `values`; empty if they are left open."""
        return self.names or tuple(dict.fromkeys((self.values or {}).values()))

    @property
    def reading(self) -> ImageReading:
        """How images are read."""
        return ImageReading(self.range, self.channels, self.orientation, self.slice)

    @property
    def is_complete(self) -> bool:
        """Whether nothing about splits, masks and their coding is left to find out."""
        settled = self.names, self.values, self.ignore, self.nearest, self.train, self.val
        return None not in settled and not isinstance(self.val, float)

    def updated(self, **found: Any) -> "Description":
        """Returns a copy with further entries; entries that are set already stay."""
        new = {name: value for name, value in found.items() if getattr(self, name) is None}
        return self.model_copy(update=new)


def read_description(path: Path) -> Description:
    """Reads the description in a folder, or in a YAML file. A folder without one gives an empty description.

    Raises:
        InputError: There is no such folder or file, it cannot be read, a key does not exist, or a value is invalid.
    """
    if path.is_dir():
        files = [path / name for name in FILE_NAMES if (path / name).is_file()]
        if not files:
            return Description(path=path.absolute())
        path = files[0]
    if not path.is_file():
        raise InputError(f"There is no such folder of images. Is the path right? Received: {path}")
    try:
        content = yaml_files.read(path)
        description = Description.model_validate(content if content is not None else {})
    except ValidationError as error:
        place, message, value = first_failure(error)
        if message == "Extra inputs are not permitted":
            raise unknown_name(f"entry in {path}", place, Description.model_fields) from error
        raise InputError(
            f"The description of a data set is invalid ({f'{place}: ' if place else ''}{message}). Mend the entry. "
            f"Received: {shorten(value)} in {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"The description of a data set cannot be read ({error}). Received: {path}") from error
    root = path.absolute().parent / (description.path.expanduser() if description.path else "")
    description = description.model_copy(update={"path": root})
    description._file = path
    return description


def dump(description: Description) -> str:
    """Returns the description as YAML, without entries that are None."""
    content = as_json_values(description)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def as_json_values(description: Description) -> dict[str, Any]:
    """Returns the entries of a description that are not None, as plain values."""
    content = description.model_dump(exclude_none=True)
    if "path" in content:
        content["path"] = str(content["path"])
    if "values" in content:
        content["values"] = {_plain(key): name for key, name in content["values"].items()}
    if "ignore" in content:
        content["ignore"] = [_plain(key) for key in content["ignore"]]
    if "colours" in content:
        content["colours"] = {name: text_of(colour) for name, colour in content["colours"].items()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in content.items()}


def _plain(stored: Stored) -> int | str:
    return stored if isinstance(stored, int) else text_of(stored)
