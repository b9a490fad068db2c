"""A canvas for scenes in perspective: image and label map come from the same polygons.

World coordinates (x, y, z) are metres: x to the right of the road's middle, y up, z ahead of the camera. The canvas has
twice the final size: blocks of 2x2 pixels are averaged for the image and compared for the label map.
"""

import math
import random
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from keras_crosscoop.labels import IGNORE_LABEL

Colour = Sequence[float]
Point = tuple[float, float, float]

NEAR = 2.0  # metres; closer points are projected as if they were this far away

_GRAIN = {  # texture by class, as shares of brightness: single pixels, patches of 3 pixels, patches of 12 pixels
    "road": (0.05, 0.03, 0.06), "pavement": (0.05, 0.04, 0.05), "building": (0.03, 0.03, 0.04),
    "fence": (0.05, 0.05, 0.04), "tree": (0.14, 0.22, 0.08), "grass": (0.12, 0.12, 0.10),
}  # fmt: skip
_LIGHTS = (  # zenith, horizon, gain of each channel, direct light, haze per metre, shares of lit windows, clouds
    ((78, 132, 200), (190, 212, 230), (1.03, 1.0, 0.95), 0.5, 0.002, 0.0, 0.35),  # clear
    ((104, 148, 196), (206, 214, 220), (1.0, 1.0, 0.98), 0.35, 0.003, 0.0, 0.6),  # fair
    ((146, 156, 168), (204, 208, 212), (0.9, 0.93, 0.97), 0.06, 0.005, 0.05, 0.8),  # overcast
    ((176, 182, 186), (206, 208, 208), (0.9, 0.91, 0.92), 0.03, 0.017, 0.1, 0.5),  # misty
    ((98, 110, 156), (238, 180, 128), (1.05, 0.88, 0.72), 0.5, 0.006, 0.15, 0.5),  # sunset
    ((54, 66, 108), (166, 134, 146), (0.66, 0.64, 0.78), 0.08, 0.006, 0.45, 0.5),  # dusk
)


class Canvas:
    """A camera, the light, and a map of polygons that are numbered from back to front."""

    def __init__(self, height: int, width: int, classes: Sequence[str], seed: Sequence[int] | int) -> None:
        self._generator = np.random.default_rng(seed)
        self.rng = random.Random(int(self._generator.integers(2**63)))  # faster for single numbers
        uniform, height, width = self.rng.uniform, 2 * height, 2 * width
        # A pinhole camera in a car in the right-hand lane: focal length and vanishing point in pixels, place in metres
        self.focal, self.u, self.v = width * uniform(0.8, 1.05), width * uniform(0.4, 0.6), height * uniform(0.4, 0.52)
        self.x, self.y = uniform(0.4, 2.2), uniform(1.4, 2.3)
        self.bend, self.hill = uniform(-0.0022, 0.0022), uniform(-0.0005, 0.0006)  # of the street, metres per m² ahead
        self.zenith, self.horizon, self.tint, self.direct, self.haze, self.lamps, self.clouds = self.rng.choice(_LIGHTS)
        self.haze *= uniform(0.6, 1.5)
        azimuth = uniform(0.15, 0.85) * math.pi * self.rng.choice((-1, 1))
        self.sun = math.sin(azimuth), -math.cos(azimuth)  # unit vector (x, z) towards the sun, never straight ahead
        self._map, self._shadows, self._shaded = Image.new("I", (width, height)), Image.new("L", (width, height)), 0
        self._draw, self._classes, self._objects = ImageDraw.Draw(self._map), list(classes), 0
        self._polygons: list[tuple[float, ...]] = []  # lit colour, distance, class, outline, texture
        self.begin("sky")
        self._polygons.append((0, 0, 0, 0, *self._object))  # polygon 0 is the background

    def project(self, points: Iterable[Point]) -> list[tuple[int, int]]:
        """Projects world points to (column, row), rounded because versions of Pillow round differently."""
        focal, u, v, x0, y0, bend, hill = self.focal, self.u, self.v, self.x, self.y, self.bend, self.hill
        return [
            (round(u + focal * ((x - x0) / z + bend * z)), round(v - focal * ((y - y0) / z + hill * z)))
            for x, y, z in [(x, y, z if z > NEAR else NEAR) for x, y, z in points]
        ]

    def light_on(self, x: float, z: float) -> float:
        """Returns the brightness of an upright surface with the normal (x, z)."""
        return 0.78 + self.direct * max(0.0, x * self.sun[0] + z * self.sun[1])

    def pick(self, colours: Sequence[Colour]) -> Colour:
        """Returns one of the colours, slightly changed in brightness and hue."""
        gain = self.rng.uniform(0.9, 1.1)
        return [channel * gain * self.rng.uniform(0.97, 1.03) for channel in self.rng.choice(colours)]

    def begin(self, name: str) -> None:
        """Begins an object of a class: the next polygons belong to it. Void separates poles, signs, people and cars."""
        class_id, self._objects = self._classes.index(name), self._objects + 1
        outline = len(self._classes) + self._objects if name in ("pole", "traffic sign", "person", "car") else class_id
        self._object = class_id, outline, *_GRAIN.get(name, (0.015, 0.01, 0.02))

    def fill(self, points: Sequence[Point], colour: Colour, light: float | None = 1.0) -> None:
        """Draws a polygon with the brightness `light`; None for a lamp, which glows in the dark."""
        gains = (1.0, 1.0, 1.0) if light is None and self.lamps > 0.2 else self.tint
        lit = [(1.0 if light is None else light) * gain * channel for gain, channel in zip(gains, colour, strict=True)]
        corners = self.project(points)
        if max(corners)[0] >= 0 and min(corners)[0] < self._map.width:
            self._draw.polygon(corners, fill=len(self._polygons))
            self._polygons.append((*lit, (points[0][2] + points[2][2]) / 2, *self._object))

    def shade(self, shadows: Iterable[tuple[Sequence[Point], float]]) -> None:
        """Darkens all earlier polygons by shadows of a depth in [0, 1]; the last shadow at a pixel counts."""
        draw, self._shaded = ImageDraw.Draw(self._shadows), len(self._polygons)
        for points, depth in shadows:
            draw.polygon(self.project(points), fill=round(255 * depth))

    def develop(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the finished image, uint8 RGB `(H, W, 3)`, and its label map, uint8 `(H, W)` with void 255."""
        table, numbers = np.array(self._polygons), np.asarray(self._map)
        clearness, (classes, outlines) = np.exp(-self.haze * table[:, 3:4]), np.array(table[:, 4:6].T, int, order="C")
        colours = clearness * table[:, :3] + (1 - clearness) * self.horizon
        image = Image.fromarray(_to_uint8(colours).take(numbers, axis=0))
        image.paste(self._sky(), mask=Image.fromarray(numbers == 0))
        shadows = np.asarray(self._shadows.filter(ImageFilter.BoxBlur(2)))
        image.paste((14, 16, 28), mask=Image.fromarray(shadows * (numbers < self._shaded)))
        blocks = numbers[::2, ::2], numbers[::2, 1::2], numbers[1::2, ::2], numbers[1::2, 1::2]
        front = np.maximum.reduce(blocks)
        # Void: pixels that two outlines share, and the first pixel behind an outline. Thin objects keep their width.
        border = np.logical_or.reduce([outlines.take(block) != outlines.take(front) for block in blocks])
        padded = np.pad(front, 1, "edge")
        for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
            border |= (neighbour > front) & (outlines.take(neighbour) != outlines.take(front))
        label = np.where(border, IGNORE_LABEL, classes.take(front)).astype(np.uint8)
        grain = zip(np.array((table[:, 6:] * clearness).T, np.float32, order="C"), (1, 3, 12), strict=True)
        gain = 1 + sum(amplitude.take(front) * self._noise(front.shape, cell) for amplitude, cell in grain)
        return self._expose(np.asarray(image.reduce(2)) * gain[..., None]), label

    def _noise(self, shape: Sequence[int], cell: int) -> np.ndarray:
        """Returns smooth noise, float32 `(H, W)`: standard normal at nodes that are `cell` pixels apart."""
        nodes = self._generator.standard_normal([side if cell == 1 else side // cell + 2 for side in shape], np.float32)
        return np.asarray(Image.fromarray(nodes).resize(shape[::-1], Image.Resampling.BICUBIC))

    def _sky(self) -> Image.Image:
        """Draws a gradient with clouds."""
        size, extent = self._map.size, (0, 0, 256, 256 * self._map.height / self.v)
        gradient = Image.linear_gradient("L").transform(size, Image.Transform.EXTENT, extent)
        sky = ImageOps.colorize(gradient, self.zenith, self.horizon)
        clouds = sum(weight * self._noise((48, 64), cell) for weight, cell in ((0.8, 14), (0.4, 6), (0.25, 3)))
        clouds = _to_uint8(180 * (clouds + 2 * (self.clouds + self.rng.uniform(-0.25, 0.2)) - 1).clip(0, 1))
        sky.paste(self.horizon, mask=Image.fromarray(clouds).resize(size, Image.Resampling.BILINEAR))
        return sky

    def _expose(self, image: np.ndarray) -> np.ndarray:
        """Applies the camera: exposure, vignette, gamma, white balance, blur and noise."""
        uniform, steps = self.rng.uniform, np.arange(256) / 255
        rows, columns = np.ogrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
        vignette = uniform(0.92, 1.28) * (1 - uniform(0, 0.28) * (rows**2 + columns**2) / 2)
        curves = [255 * uniform(0.88, 1.05) * gamma for gamma in [steps ** uniform(0.75, 1.15)] * 3]
        photo = Image.fromarray(_to_uint8(image * vignette.astype(np.float32)[..., None])).point(
            _to_uint8(np.ravel(curves)).tolist()
        )
        photo = photo.filter(ImageFilter.BoxBlur(max(0, uniform(-0.8, 0.8))))
        noise = self._generator.standard_normal(image.shape, np.float32)
        return _to_uint8(np.asarray(photo) + np.float32(uniform(1, 6)) * noise)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)
