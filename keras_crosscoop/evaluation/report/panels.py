"""Pictures of one example, between which the viewer fades: image, label, outputs and disagreement."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_crosscoop.evaluation.report.page import COLOURS
from keras_crosscoop.images.palettes import RGB, palette_table
from keras_crosscoop.labels import IGNORE_LABEL

TOP_CLASSES = 3  # the classes whose probabilities the viewer shows at each pixel, one per colour channel

AGREEMENT = {  # The colour for each case of agreement between two outputs; void is white.
    "both right": "#DDDDDD",
    "both wrong, same class": "#888888",
    "only top right": COLOURS[0],
    "only bottom right": COLOURS[1],
    "both wrong, different classes": COLOURS[2],
}


class Panel(NamedTuple):
    """A picture, and the values that the viewer reads from it. All images are data URIs.

    Attributes:
        name: Its name.
        picture: The visible picture.
        classes: A PNG with the ids of the most probable classes as red, green and blue; for the label, a grey PNG of
            its ids.
        probabilities: A PNG with the probabilities of these classes as red, green and blue, 255 for 1.
    """

    name: str
    picture: str
    classes: str | None = None
    probabilities: str | None = None


def image_panel(image: np.ndarray, size: tuple[int, int]) -> Panel:
    """Shrinks an image, uint8 `(H, W, 3)`, smoothly to `size`."""
    height, width = size
    return Panel("image", _data_uri(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS), "JPEG"))


def label_panel(ids: np.ndarray, palette: Sequence[RGB]) -> Panel:
    """Draws the label, uint8 `(h, w)`."""
    return Panel("label", _draw(ids, palette_table(palette)), _data_uri(Image.fromarray(ids)))


def output_panel(name: str, probabilities: np.ndarray, palette: Sequence[RGB]) -> Panel:
    """Draws an output from its probabilities, float `(h, w, C)`."""
    ranked = np.argsort(-probabilities, axis=-1, kind="stable")[..., :TOP_CLASSES]
    values = np.take_along_axis(probabilities, ranked, axis=-1)
    missing = (0, 0), (0, 0), (0, TOP_CLASSES - ranked.shape[-1])
    classes = np.pad(ranked, missing, constant_values=IGNORE_LABEL).astype(np.uint8)
    scaled = np.pad((255 * values).round(), missing).astype(np.uint8)
    picture = _draw(classes[..., 0], palette_table(palette))
    return Panel(name, picture, _data_uri(Image.fromarray(classes)), _data_uri(Image.fromarray(scaled)))


def disagreement_panel(labels: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> Panel:
    """Draws the cases of `AGREEMENT` from class ids `(h, w)`."""
    cases = np.select(
        [labels == IGNORE_LABEL, (top == labels) & (bottom == labels), top == bottom, top == labels, bottom == labels],
        [IGNORE_LABEL, 0, 1, 2, 3],
        4,
    )
    table = np.full((256, 3), 255, np.uint8)
    table[: len(AGREEMENT)] = [tuple(bytes.fromhex(colour[1:])) for colour in AGREEMENT.values()]
    return Panel("disagreement", _draw(cases.astype(np.uint8), table))


def _draw(ids: np.ndarray, table: np.ndarray) -> str:
    picture = Image.fromarray(ids)
    picture.putpalette(table.tobytes())
    return _data_uri(picture)


def _data_uri(picture: Image.Image, kind: str = "PNG") -> str:
    file = BytesIO()
    picture.save(file, kind, quality=85)  # the quality only affects JPEGs
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"
