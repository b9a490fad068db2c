"""Your own data set: `images/` and `masks/` by split, and `classes.txt`."""

import re
from pathlib import Path

from keras_crosscoop.data.pairs import pair_folders
from keras_crosscoop.data.spec import Dataset, Entry
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import RGB, voc_palette
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL

_LAYOUT = "images/{train,val,test}/, masks/{train,val,test}/ (PNGs of class ids, 255 void) and classes.txt"

_SPLITS = ("train", "val", "test")
_LINE = re.compile(r"(?P<name>[^#\s].*?)(\s+#(?P<colour>\S*))?")
_MAX_SIZE = 1 << 20  # bytes of classes.txt


def open(data_dir: Path) -> Dataset:
    """Opens the data set in `data_dir`; its splits are the folders that exist.

    A line of `classes.txt` is the name of a class and, optionally, its colour: `traffic sign #dcdc00`. The default
    colours are those of PASCAL VOC. Split "test" may have images without masks.

    Raises:
        InputError: `classes.txt` is missing or invalid, or there is no split.
    """
    classes, palette = _read_classes(data_dir / "classes.txt")
    images, masks = data_dir / "images", data_dir / "masks"
    splits = tuple(split for split in _SPLITS if (images / split).is_dir() or (masks / split).is_dir())
    if not splits:
        raise InputError(f"The folder holds no split. Lay it out as {_LAYOUT}. Received: {data_dir}")
    unlabelled = ("test",) if "test" in splits and not (masks / "test").is_dir() else ()
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
            content = file.read(_MAX_SIZE + 1)
        if len(content) > _MAX_SIZE:
            raise InputError(
                f"The list of classes has over {_MAX_SIZE:,} bytes. Is it the right file? Received: {path}"
            )
        lines = content.decode("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"There is no {path.name} in the folder. Create it with one class name per line, in id order. "
            f"Received: {path.parent}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list of classes cannot be read. Write one name per line, in UTF-8. Received: {path}"
        ) from error
    colours: dict[str, RGB] = {}
    defaults = voc_palette(IGNORE_LABEL)
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        received = f"Received: {path}, line {number}: {line!r}"
        fields = _LINE.fullmatch(line)
        if not fields or (fields["colour"] is not None and not re.fullmatch("[0-9a-fA-F]{6}", fields["colour"])):
            raise InputError(f"A class must be a name, or a name and a colour as in `road #804080`. {received}")
        if fields["name"] in colours:
            raise InputError(f"Two classes have the same name. Rename one of them. {received}")
        if len(colours) == INVALID_LABEL:
            raise InputError(
                f"There can be at most {INVALID_LABEL} classes, as {IGNORE_LABEL} is void. Merge some. {received}"
            )
        colour = fields["colour"] and tuple(bytes.fromhex(fields["colour"]))
        colours[fields["name"]] = colour or defaults[len(colours)]
    if not colours:
        raise InputError(f"The list of classes is empty. Write one name per line. Received: {path}")
    return tuple(colours), tuple(colours.values())


ENTRY = Entry(
    open,
    classes=None,
    splits=dict.fromkeys(_SPLITS),
    layout=_LAYOUT,
    source="your own images",
    licence="yours",
)
