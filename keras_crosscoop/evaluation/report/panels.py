"""Pictures of one image to lay on each other: itself, the truth, outputs, disagreement."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_crosscoop.evaluation.report.charts import COLOURS
from keras_crosscoop.images.io import RGB, palette_table
from keras_crosscoop.labels import IGNORE_LABEL

READ = 3  # classes whose probabilities can be read at a pixel: as many as a pixel has colours

# What two outputs agree on or not, and the colour of it; void is white.
AGREEMENT = {
    "both right": "#DDDDDD",
    "both wrong, and the same": "#888888",
    "top alone right": COLOURS[0],
    "bottom alone right": COLOURS[1],
    "both wrong, and different": COLOURS[2],
}


class Panel(NamedTuple):
    """A picture, and what can be read in it.

    Attributes:
        name: what it shows.
        picture: for looking at, a data URI, as all of them.
        classes: a PNG whose red, green and blue are the ids of the most probable classes, in order; of the truth, a
            grey one of its ids.
        probabilities: a PNG whose red, green and blue are these classes' probabilities, 255 for 1.
    """

    name: str
    picture: str
    classes: str | None = None
    probabilities: str | None = None


def of_image(image: np.ndarray, size: tuple[int, int]) -> Panel:
    """The image, uint8 `(H, W, 3)`, smoothly shrunk to `size`."""
    height, width = size
    return Panel("image", _uri(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS), "JPEG"))


def of_truth(ids: np.ndarray, palette: Sequence[RGB]) -> Panel:
    """Labels, uint8 `(h, w)`."""
    return Panel("truth", _coloured(ids, palette_table(palette)), _uri(Image.fromarray(ids)))


def of_output(name: str, probabilities: np.ndarray, palette: Sequence[RGB]) -> Panel:
    """What an output makes of the pixels shown: float `(h, w, C)`."""
    ranked = np.argsort(-probabilities, axis=-1, kind="stable")[..., :READ]
    values = np.take_along_axis(probabilities, ranked, axis=-1)
    missing = (0, 0), (0, 0), (0, READ - ranked.shape[-1])  # of fewer classes
    classes = np.pad(ranked, missing, constant_values=IGNORE_LABEL).astype(np.uint8)
    shares = np.pad((255 * values).round(), missing).astype(np.uint8)
    picture = _coloured(classes[..., 0], palette_table(palette))
    return Panel(name, picture, _uri(Image.fromarray(classes)), _uri(Image.fromarray(shares)))


def of_disagreement(labels: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> Panel:
    """Which of two outputs is right, in the colours of `AGREEMENT`; all are class ids `(h, w)`."""
    cases = np.select(
        [labels == IGNORE_LABEL, (top == labels) & (bottom == labels), top == bottom, top == labels, bottom == labels],
        [IGNORE_LABEL, 0, 1, 2, 3],
        4,
    )
    table = np.full((256, 3), 255, np.uint8)
    table[: len(AGREEMENT)] = [tuple(bytes.fromhex(colour[1:])) for colour in AGREEMENT.values()]
    return Panel("disagreement", _coloured(cases.astype(np.uint8), table))


def _coloured(ids: np.ndarray, table: np.ndarray) -> str:
    picture = Image.fromarray(ids)
    picture.putpalette(table.tobytes())
    return _uri(picture)


def _uri(picture: Image.Image, kind: str = "PNG") -> str:
    file = BytesIO()
    picture.save(file, kind, quality=85)  # of the JPEG; PNGs lose nothing
    return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"
