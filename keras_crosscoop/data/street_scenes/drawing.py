"""Camera, canvas and light for drawing street scenes: image and label come from the same polygons.

World coordinates (x, y, z) are metres: x to the right of the road's middle, y up, z ahead of the camera. Everything is
drawn at twice the final size, so that one final pixel is a block of 2x2: averaged for the image, compared for the
label.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from keras_crosscoop.labels import IGNORE_LABEL

Point = tuple[float, float, float]
Colour = tuple[float, float, float]
Pixel = tuple[int, int]
T = TypeVar("T")

OVERSAMPLING = 2
NEAR = 2.0  # metres; nothing is drawn closer, where the projection would run off to infinity

# Grain by class, as shares of brightness: (single pixels, patches of 3 pixels, patches of 12 pixels)
_GRAIN = {
    "road": (0.05, 0.03, 0.06),
    "pavement": (0.05, 0.04, 0.05),
    "building": (0.03, 0.03, 0.04),
    "fence": (0.05, 0.05, 0.04),
    "tree": (0.14, 0.22, 0.08),
    "grass": (0.12, 0.12, 0.10),
}
_SHADE = (14, 16, 28)
_GRAIN_ELSEWHERE = (0.015, 0.01, 0.02)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera looking along a street that bends and climbs with the square of the distance."""

    focal: float  # pixels of the oversampled canvas, as are `u` and `v`
    u: float  # column of the vanishing point of a straight, level street
    v: float  # its row
    x: float  # metres from the road's middle
    y: float  # metres above the road
    bend: float  # metres sideways per square metre ahead
    hill: float  # metres up per square metre ahead

    def project(self, points: Iterable[Point]) -> list[Pixel]:
        """World points to (column, row). Rounded here, because Pillow's own rounding has changed over its versions."""
        focal, u, v, x0, y0, bend, hill = self.focal, self.u, self.v, self.x, self.y, self.bend, self.hill
        return [
            (round(u + focal * ((x - x0) / z + bend * z)), round(v - focal * ((y - y0) / z + hill * z)))
            for x, y, z in points
        ]


@dataclass(frozen=True)
class Light:
    """Weather and time of day. Colours are RGB in [0, 255] but for `tint`, a gain."""

    zenith: Colour
    horizon: Colour
    tint: Colour
    direct: float  # what the sun adds to a surface that faces it, as a share of the light in the shade
    haze: float  # extinction per metre
    lamps: float  # share of the windows with lights on
    clouds: float  # share of the sky that is clouded
    sun: tuple[float, float]  # unit vector towards the sun, on the ground: (x, z)

    def on(self, x: float, z: float) -> float:
        """Brightness of an upright surface with the normal (x, z)."""
        return 0.78 + self.direct * max(0.0, x * self.sun[0] + z * self.sun[1])


class Canvas:
    """A picture in the making: colours and, in a second plane, which region each pixel belongs to.

    Regions are painted from back to front, so of two neighbouring pixels the one with the higher number is in front.
    """

    def __init__(
        self, size: tuple[int, int], classes: Sequence[str], camera: Camera, light: Light, rng: np.random.Generator
    ) -> None:
        self.camera, self.light, self.rng = camera, light, rng
        self.width, self.height = (OVERSAMPLING * side for side in size)
        self.image = Image.new("RGB", (self.width, self.height))
        self._regions = Image.new("I", (self.width, self.height))
        self._draw, self._draw_regions = ImageDraw.Draw(self.image), ImageDraw.Draw(self._regions)
        self._classes = list(classes)
        self._class_of = [self._classes.index("sky")]  # region 0 is what nothing has been painted over
        self._outline_of = [self._class_of[0]]
        self._clearness_of = [0.0]

    def uniform(self, low: float, high: float) -> float:
        """A random number from [low, high)."""
        return low + (high - low) * self.rng.random()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.rng.random() * len(options))]

    def vary(self, colour: Colour, amount: float = 0.08) -> Colour:
        """The colour, somewhat lighter or darker and with a slight cast."""
        gain = 1 + self.uniform(-amount, amount)
        red, green, blue = (channel * gain * (1 + self.uniform(-amount, amount) / 3) for channel in colour)
        return red, green, blue

    def sees(self, ground: Sequence[tuple[float, float]], reach: float) -> bool:
        """False where nothing within `reach` metres to either side of the corners (x, z) can be in the picture."""
        points = [(x + step, 0.0, max(z, NEAR)) for x, z in ground for step in (-reach, reach)]
        return self._shows(self.camera.project(points))

    def begin(self, name: str, *, thing: bool = False) -> None:
        """Start a region of class `name`: what `fill` paints next. A thing is outlined against others of its class."""
        self._class_of.append(self._classes.index(name))
        self._outline_of.append(len(self._class_of) + len(self._classes) if thing else self._class_of[-1])
        self._clearness_of.append(1.0)

    def fill(self, points: Sequence[Point], colour: Colour, light: float = 1.0) -> None:
        """Paint a polygon into image and label."""
        corners = self.camera.project(points)
        if self._shows(corners):
            self._clearness_of[-1] = self._paint(corners, points, colour, light, self.light.tint)
            self._draw_regions.polygon(corners, fill=len(self._class_of) - 1)

    def detail(self, points: Sequence[Point], colour: Colour, light: float = 1.0, *, glow: bool = False) -> None:
        """Paint a polygon into the image alone: something on the surface of a region. A glowing one needs no light."""
        corners = self.camera.project(points)
        if self._shows(corners):
            light, tint = (1.0, (1.0, 1.0, 1.0)) if glow else (light, self.light.tint)
            self._paint(corners, points, colour, light, tint)

    def _shows(self, corners: Sequence[Pixel]) -> bool:
        """False beyond the left or right edge, where much of the street is."""
        return max(corners)[0] >= 0 and min(corners)[0] < self.width

    def _paint(
        self, corners: Sequence[Pixel], points: Sequence[Point], colour: Colour, light: float, tint: Colour
    ) -> float:
        """Paint into the image; returns how much of the colour the haze has left."""
        clearness = math.exp(-self.light.haze * (points[0][2] + points[2][2]) / 2)
        light, haze = light * clearness, 1 - clearness
        (red, green, blue), (red_gain, green_gain, blue_gain) = colour, tint
        red_haze, green_haze, blue_haze = self.light.horizon
        mixed = (
            min(255, round(light * red * red_gain + haze * red_haze)),
            min(255, round(light * green * green_gain + haze * green_haze)),
            min(255, round(light * blue * blue_gain + haze * blue_haze)),
        )
        self._draw.polygon(corners, fill=mixed)
        return clearness

    def cast(self, shadows: Iterable[tuple[Sequence[Point], float]]) -> None:
        """Darken what has been painted so far below polygons, each by a depth in [0, 1]; the last one counts."""
        mask = Image.new("L", (self.width // OVERSAMPLING, self.height // OVERSAMPLING))  # soft anyhow
        draw = ImageDraw.Draw(mask)
        for polygon, depth in shadows:
            corners = self.camera.project(polygon)
            if self._shows(corners):
                draw.polygon([(u // OVERSAMPLING, v // OVERSAMPLING) for u, v in corners], fill=round(255 * depth))
        mask = mask.filter(ImageFilter.BoxBlur(1)).resize(self.image.size, Image.Resampling.BILINEAR)
        self.image.paste(_SHADE, mask=mask)

    def develop(self) -> tuple[np.ndarray, np.ndarray]:
        """The finished picture: uint8 RGB `(H, W, 3)` and uint8 class ids `(H, W)`, void 255."""
        regions = np.asarray(self._regions)
        blocks = [
            regions[row::OVERSAMPLING, column::OVERSAMPLING] for row, column in np.ndindex(OVERSAMPLING, OVERSAMPLING)
        ]
        front = np.maximum.reduce(blocks)
        label = np.asarray(self._class_of, np.uint8)[front]
        image = self._exposed(np.asarray(self.image.reduce(OVERSAMPLING)), self._grain(front))
        label[self._border(blocks, front)] = IGNORE_LABEL
        return image, label

    def _border(self, blocks: Sequence[np.ndarray], front: np.ndarray) -> np.ndarray:
        """Void pixels `(H, W)`: those that two regions share, and the first one behind each outline.

        The border runs behind the outline, as thin things in front would vanish in a border of their own.
        """
        outline = np.asarray(self._outline_of, np.uint16)
        outlines = outline[front]
        border = np.logical_or.reduce([outline[block] != outlines for block in blocks])
        for axis in (0, 1):
            first, second = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
            differ = outlines[first] != outlines[second]
            border[first] |= differ & (front[first] < front[second])
            border[second] |= differ & (front[first] > front[second])
        return border

    def _grain(self, front: np.ndarray) -> np.ndarray:
        """Texture: a gain for each pixel, `(H, W)`, with the grain of its class, which the haze hides."""
        grains = np.array([_GRAIN.get(name, _GRAIN_ELSEWHERE) for name in self._classes], np.float32)
        amplitudes = grains[self._class_of] * np.array(self._clearness_of, np.float32)[:, None]
        gain = np.ones(front.shape, np.float32)
        for amplitude, cell in zip(amplitudes.T, (1, 3, 12), strict=True):
            gain += amplitude[front] * noise(self.rng, front.shape, cell)
        return gain

    def _exposed(self, image: np.ndarray, gain: np.ndarray) -> np.ndarray:
        """What a camera makes of the light and of the gain `(H, W)` on it: uint8 `(H, W, 3)` to the same."""
        height, width, _ = image.shape
        rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        vignette = 1 - self.uniform(0, 0.28) * (rows**2 + columns**2) / 2
        gain = gain * (self.uniform(0.92, 1.28) * vignette).astype(np.float32)
        lit = Image.fromarray(_to_uint8(image * gain[..., None]))
        gamma, steps = self.uniform(0.75, 1.15), np.arange(256) / 255
        balance = (self.uniform(0.88, 1.05) for _ in range(3))
        curves = [255 * gain * steps**gamma for gain in balance]
        exposed = lit.point(np.concatenate(curves).round().clip(0, 255).astype(int).tolist())
        if self.chance(0.5):
            exposed = exposed.filter(ImageFilter.BoxBlur(self.uniform(0.2, 0.8)))
        noisy = self.rng.standard_normal(image.shape, np.float32)
        noisy *= self.uniform(1, 6)
        noisy += np.asarray(exposed)
        return _to_uint8(noisy)


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Smooth float32 noise of unit deviation at its nodes, `cell` pixels apart: `(H, W)`."""
    if cell == 1:
        return rng.standard_normal(shape, np.float32)
    nodes = rng.standard_normal([side // cell + 2 for side in shape], np.float32)
    return np.asarray(Image.fromarray(nodes).resize(shape[::-1], Image.Resampling.BICUBIC))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded to the nearest of [0, 255], in place as far as possible."""
    np.rint(values, out=values)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
