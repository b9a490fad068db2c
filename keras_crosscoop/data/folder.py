"""Anybody's own data: `images/` and `masks/` by split, and `classes.txt`."""

import re
from pathlib import Path

from keras_crosscoop.data.pairing import pair_folders
from keras_crosscoop.data.spec import Dataset, Entry
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import RGB
from keras_crosscoop.images.palettes import voc_palette
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL

_LAYOUT = "images/{train,val,test}/, masks/{train,val,test}/ (PNGs of class ids, 255 void) and classes.txt"

_SPLITS = ("train", "val", "test")
_LINE = re.compile(r"(?P<name>[^#\s].*?)(\s+#(?P<colour>\S*))?")
_LONGEST = 1 << 20  # bytes of classes.txt


def open(data_dir: Path) -> Dataset:
    """The data set in `data_dir`, laid out as `ENTRY` says; its splits are those that are there.

    A line of `classes.txt` is a class's name and, if wanted, its colour: `traffic sign #dcdc00`. Without one, the class
    gets its colour of the PASCAL VOC colour map. Split "test" may have images alone.

    Raises:
        InputError: `classes.txt` is missing or cannot be understood, or there is no split.
    """
    classes, palette = _read_classes(data_dir / "classes.txt")
    splits = tuple(
        split for split in _SPLITS if any((data_dir / kind / split).is_dir() for kind in ("images", "masks"))
    )
    if not splits:
        raise InputError(f"The folder holds no split. Lay it out as {_LAYOUT}. Received: {data_dir}")
    images, masks = data_dir / "images", data_dir / "masks"
    unlabelled = tuple(split for split in splits if split == "test" and not (masks / split).is_dir())
    return Dataset(
        name="folder",
        classes=classes,
        palette=palette,
        splits=splits,
        find=lambda split: pair_folders(images / split, None if split in unlabelled else masks / split),
        unlabelled=unlabelled,
    )


def _read_classes(path: Path) -> tuple[tuple[str, ...], tuple[RGB, ...]]:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise InputError(f"The list of classes has over {_LONGEST:,} bytes: is it one? Received: {path}")
        lines = content.decode("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"There is no {path.name} in the folder. Create it with one class name a line, in id order. "
            f"Received: {path.parent}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list of classes cannot be read. Write one name a line, in UTF-8. Received: {path}"
        ) from error
    colours: dict[str, RGB] = {}
    defaults = voc_palette(IGNORE_LABEL)
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        where = f"Received: {path}, line {number}: {line!r}"
        parts = _LINE.fullmatch(line)
        if not parts or (parts["colour"] is not None and not re.fullmatch("[0-9a-fA-F]{6}", parts["colour"])):
            raise InputError(f"A class is a name, or a name and a colour as in `road #804080`. {where}")
        if parts["name"] in colours:
            raise InputError(f"Two classes have one name. Rename one of them. {where}")
        if len(colours) == INVALID_LABEL:
            raise InputError(
                f"There can be at most {INVALID_LABEL} classes, as {IGNORE_LABEL} is void. Merge some. {where}"
            )
        red_green_blue = parts["colour"] and tuple(bytes.fromhex(parts["colour"]))
        colours[parts["name"]] = red_green_blue or defaults[len(colours)]
    if not colours:
        raise InputError(f"The list of classes is empty. Write one name a line. Received: {path}")
    return tuple(colours), tuple(colours.values())


ENTRY = Entry(
    open,
    classes=None,
    splits=dict.fromkeys(_SPLITS),
    layout=_LAYOUT,
    source="your own images",
    licence="yours",
)
