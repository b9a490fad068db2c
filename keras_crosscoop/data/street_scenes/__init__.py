"""Street scenes: a data set that is drawn, not downloaded.

Driving scenes in perspective, the same ones for the same seed, with what makes segmentation hard in miniature:
occlusion, texture, light from noon to dusk, haze, blur and noise, and colours that several classes share. They are the
package's default data, for trying it out, for tests and for benchmarks; no published result uses them.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_crosscoop.data.street_scenes.drawing import Canvas
from keras_crosscoop.data.street_scenes.ground import draw_ground, draw_sky
from keras_crosscoop.data.street_scenes.layout import draw_camera, draw_light, draw_plan
from keras_crosscoop.data.street_scenes.roadside import place_roadside
from keras_crosscoop.data.street_scenes.things import paint_things
from keras_crosscoop.data.street_scenes.traffic import place_traffic
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import write_label

CLASSES: tuple[str, ...] = (
    "road",
    "lane marking",
    "pavement",
    "building",
    "fence",
    "pole",
    "traffic sign",
    "tree",
    "grass",
    "sky",
    "person",
    "car",
)
# Any two differ by 17 or more in CIE L*a*b*, for protanopia, deuteranopia and tritanopia too (Machado et al., 2009).
PALETTE: tuple[tuple[int, int, int], ...] = (
    (84, 84, 96),
    (255, 255, 255),
    (225, 150, 190),
    (200, 170, 150),
    (200, 130, 0),
    (43, 29, 82),
    (240, 228, 66),
    (0, 130, 80),
    (143, 209, 117),
    (86, 180, 233),
    (200, 30, 30),
    (0, 82, 178),
)
SPLITS: dict[str, int] = {"train": 400, "val": 80}  # images


def draw_scene(seed: Sequence[int] | int, height: int = 192, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        seed: What decides the scene: the same seed gives the same bits, at one size.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        The image, uint8 RGB `(H, W, 3)`, and its label, uint8 `(H, W)`: an index into `CLASSES`, or 255 for void.
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas((width, height), CLASSES, draw_camera(rng, height, width), draw_light(rng), rng)
    street = draw_plan(rng)
    draw_sky(canvas)
    draw_ground(canvas, street)
    beside = (thing for side in street.sides for thing in place_roadside(canvas, side))
    paint_things(canvas, [*place_traffic(canvas, street), *beside])
    return canvas.develop()


def write(directory: Path) -> None:
    """Draw all splits into `directory`, in the layout of the data set `folder`.

    The directory appears when everything is in it, so nobody ever reads a half of it; several processes may write at
    once. A complete one is left as it is.

    Raises:
        InputError: `directory` holds something else, or cannot be written.
    """
    if _is_complete(directory):
        return
    try:
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise InputError(
                f"Street scenes are drawn into a new folder, and this one holds other files. Name another. "
                f"Received: {directory}"
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as scratch:
            drawn = Path(scratch) / directory.name
            _write_splits(drawn)
            drawn.rename(directory)
    except OSError as error:
        if not _is_complete(directory):  # as it is where another process was faster
            raise InputError(f"Street scenes cannot be written: {error.strerror}. Received: {directory}") from error


def _write_splits(directory: Path) -> None:
    for index, (split, count) in enumerate(SPLITS.items()):
        for kind in ("images", "masks"):
            (directory / kind / split).mkdir(parents=True)
        for number in range(count):
            image, label = draw_scene((index, number))
            # noise does not compress: higher levels take three times as long for files of the same size
            Image.fromarray(image).save(directory / "images" / split / f"{number:04d}.png", compress_level=1)
            write_label(directory / "masks" / split / f"{number:04d}.png", label, PALETTE)
    (directory / "classes.txt").write_text(_class_list(), "utf-8")


def _class_list() -> str:
    return "".join(f"{name} #{bytes(colour).hex()}\n" for name, colour in zip(CLASSES, PALETTE, strict=True))


def _is_complete(directory: Path) -> bool:
    classes = directory / "classes.txt"
    return (
        classes.is_file()
        and classes.read_text("utf-8") == _class_list()
        and all(
            (directory / kind / split / f"{number:04d}.png").is_file()
            for kind in ("images", "masks")
            for split, count in SPLITS.items()
            for number in range(count)
        )
    )
