"""Street scenes: the default data set, which is drawn instead of downloaded.

Driving scenes with occlusion, texture, light from noon to dusk, haze, blur and noise, and with colours that several
classes share. They serve for trials, tests and benchmarks; no published result uses them.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_crosscoop.data.street_scenes.canvas import Canvas
from keras_crosscoop.data.street_scenes.street import draw_street
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import write_label
from keras_crosscoop.labels import IGNORE_LABEL

# Any two differ by 17 or more in CIE L*a*b*, for protanopia, deuteranopia and tritanopia too (Machado et al., 2009).
_COLOURS = {
    "road": (84, 84, 96), "lane marking": (255, 255, 255), "pavement": (225, 150, 190), "building": (200, 170, 150),
    "fence": (200, 130, 0), "pole": (43, 29, 82), "traffic sign": (240, 228, 66), "tree": (0, 130, 80),
    "grass": (143, 209, 117), "sky": (86, 180, 233), "person": (200, 30, 30), "car": (0, 82, 178),
}  # fmt: skip
CLASSES, PALETTE = tuple(_COLOURS), tuple(_COLOURS.values())
SPLITS: dict[str, int] = {"train": 400, "val": 80}  # images
DESCRIPTION = {  # of the drawn files, see `data.own.description.Description`
    "images": "images/{split}/{name}.png",
    "masks": "masks/{split}/{name}.png",
    "train": "train",
    "val": "val",
    "names": CLASSES,
    "values": dict(enumerate(CLASSES)),
    "ignore": (IGNORE_LABEL,),
    "nearest": False,
    "colours": _COLOURS,
}
_CLASS_LIST = "".join(f"{name} #{bytes(colour).hex()}\n" for name, colour in _COLOURS.items())


def draw_scene(seed: Sequence[int] | int, height: int = 192, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene.

    Args:
        seed: The scene's number. At one size, the same seed gives the same bits.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        The image, uint8 RGB `(H, W, 3)`, and its label map, uint8 `(H, W)`: indices into `CLASSES`, or 255 for void.
    """
    canvas = Canvas(height, width, CLASSES, seed)
    draw_street(canvas)
    return canvas.develop()


def write(directory: Path) -> None:
    """Draws all splits into `directory`, in the layout of the data set `folder`.

    The directory appears when it is complete, and is never changed. Several processes may write it at once.

    Raises:
        InputError: `directory` holds other files, or cannot be written.
    """
    if _is_complete(directory):
        return
    try:
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            problem = "Street scenes need a new folder, but this one holds other files. Name another folder."
            raise InputError(f"{problem} Received: {directory}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as scratch:
            drawn = Path(scratch) / directory.name
            for index, (split, count) in enumerate(SPLITS.items()):
                images, masks = (drawn / kind / split for kind in ("images", "masks"))
                images.mkdir(parents=True)
                masks.mkdir(parents=True)
                for number in range(count):
                    image, label = draw_scene((index, number))
                    # noise does not compress: higher levels take three times as long for files of the same size
                    Image.fromarray(image).save(images / f"{number:04d}.png", compress_level=1)
                    write_label(masks / f"{number:04d}.png", label, PALETTE)
            (drawn / "classes.txt").write_text(_CLASS_LIST, "utf-8")
            drawn.rename(directory)
    except OSError as error:
        if not _is_complete(directory):  # another process may have been faster
            raise InputError(f"Street scenes cannot be written: {error.strerror}. Received: {directory}") from error


def _is_complete(directory: Path) -> bool:
    classes, images = directory / "classes.txt", len(list(directory.glob("*/*/*.png")))
    return images == 2 * sum(SPLITS.values()) and classes.is_file() and classes.read_text("utf-8") == _CLASS_LIST
