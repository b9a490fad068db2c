"""Sky, horizon and ground of a street scene."""

from itertools import pairwise

import numpy as np
from PIL import Image

from keras_crosscoop.data.street_scenes import objects
from keras_crosscoop.data.street_scenes.buildings import front
from keras_crosscoop.data.street_scenes.drawing import NEAR, Canvas, Colour, noise
from keras_crosscoop.data.street_scenes.layout import FAR, Side, Street

_ASPHALTS = ((84, 84, 88), (104, 102, 100), (122, 120, 120), (70, 72, 78), (112, 104, 98))
_PAVINGS = ((146, 142, 136), (128, 126, 126), (168, 156, 142), (150, 122, 108), (112, 112, 116))
_GRASSES = ((92, 118, 58), (108, 122, 66), (132, 126, 78), (78, 104, 56))
_STRIPS = (NEAR, 3.0, 4.0, 5.5, 7.5, 10.0, 14.0, 19.0, 26.0, 36.0, 50.0, 70.0, 95.0, FAR)  # haze is even on each


def draw_sky(canvas: Canvas) -> None:
    """A gradient with clouds; region 0, so there is nothing to paint into the label."""
    rows, columns = 48, 64
    zenith, horizon = np.float32(canvas.light.zenith), np.float32(canvas.light.horizon)
    depth = np.linspace(0, canvas.height / canvas.camera.v, rows, dtype=np.float32).clip(0, 1)[:, None]
    sky = zenith + (horizon - zenith) * depth[..., None] ** 0.8
    cloud = noise(canvas.rng, (rows, columns), 14) + 0.5 * noise(canvas.rng, (rows, columns), 6)
    cloud = (0.8 * cloud + 0.25 * noise(canvas.rng, (rows, columns), 3) + 2 * canvas.light.clouds - 1).clip(0, 1)
    white = horizon * 0.5 + np.float32([118, 118, 120]) * canvas.light.tint[2]
    sky = sky + (white - sky) * (0.8 * cloud * (1 - 0.5 * depth))[..., None]
    picture = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    canvas.image.paste(picture.resize(canvas.image.size, Image.Resampling.BILINEAR))


def draw_ground(canvas: Canvas, street: Street) -> None:
    """Grass, pavements, the road and what is painted on it, and what closes it in the distance."""
    _draw_horizon(canvas)
    grass, paving = (canvas.vary(canvas.pick(colours), 0.1) for colours in (_GRASSES, _PAVINGS))
    asphalt = canvas.vary(canvas.pick(_ASPHALTS), 0.12)
    left, right = street.sides
    canvas.begin("grass")
    _band(canvas, (-160, 160), (NEAR, FAR), grass)
    for side in street.sides:
        _draw_pavement(canvas, side, paving)
    canvas.begin("road")
    _band(canvas, (-left.kerb, right.kerb), (NEAR, FAR), asphalt)
    _draw_wear(canvas, street, asphalt)
    for side in street.sides:
        _draw_kerb(canvas, side, paving, asphalt)
    _draw_markings(canvas, street, asphalt)


def _draw_horizon(canvas: Canvas) -> None:
    """What closes the street: distant roofs and trees."""
    x = -110.0
    while x < 110:
        wide = canvas.uniform(6, 20)
        if canvas.chance(0.5):
            canvas.begin("building")
            high = canvas.uniform(6, 22)
            canvas.fill(front(x, x + wide, FAR + 5, -12, high), canvas.vary((136, 126, 120), 0.25), 0.9)
        else:
            canvas.begin("tree")
            leaf = canvas.vary(canvas.pick(objects.LEAVES), 0.1)
            outline = objects.circle(wide / 2, canvas.uniform(1, 4), wide * 0.75, 9, canvas.uniform(0.5, 0.9))
            canvas.fill(objects.upright(x, FAR + 5, outline), leaf, 0.8)
        x += wide * 0.8


def _band(
    canvas: Canvas,
    x: tuple[float, float],
    z: tuple[float, float],
    colour: Colour,
    light: float = 1.0,
    *,
    mark: bool = True,
) -> None:
    """A strip of the ground, in pieces so that haze and bend can vary along it."""
    stops = [z[0], *(stop for stop in _STRIPS if z[0] < stop < z[1]), z[1]]
    paint = canvas.fill if mark else canvas.detail
    for near, far in reversed(list(pairwise(stops))):
        paint([(x[0], 0, near), (x[1], 0, near), (x[1], 0, far), (x[0], 0, far)], colour, light)


def _draw_pavement(canvas: Canvas, side: Side, paving: Colour) -> None:
    """Slabs with joints between them."""
    x = side.sign * side.paving, side.sign * side.yard
    canvas.begin("pavement")
    _band(canvas, x, (NEAR, FAR), paving)
    for joint in range(22):
        z = NEAR + 1.4 * joint
        canvas.detail([(x[0], 0, z), (x[1], 0, z), (x[1], 0, z + 0.06), (x[0], 0, z + 0.06)], paving, 0.86)


def _draw_kerb(canvas: Canvas, side: Side, paving: Colour, asphalt: Colour) -> None:
    """Kerb stones, lighter than the slabs, and the mouth of the side street."""
    near, far = side.junction
    canvas.begin("pavement")
    for z in ((NEAR, near), (far, FAR)) if far else ((NEAR, FAR),):
        _band(canvas, (side.sign * side.kerb, side.sign * (side.kerb + 0.28)), z, paving, 1.16)
    if far:
        canvas.begin("road")
        x0, x1 = side.sign * (side.kerb - 0.1), side.sign * 90
        canvas.fill([(x0, 0, near), (x1, 0, near), (x1, 0, far), (x0, 0, far)], asphalt)


def _draw_wear(canvas: Canvas, street: Street, asphalt: Colour) -> None:
    """Wheel tracks, patches, puddles that mirror the sky, manholes."""
    left, right = street.sides
    mirror = tuple(0.7 * a + 0.3 * h for a, h in zip(asphalt, canvas.light.horizon, strict=True))
    for lane in (-0.5, 0.5):
        for track in (-0.8, 0.8):
            middle = lane * street.lane + track
            _band(canvas, (middle - 0.3, middle + 0.3), (NEAR, 60), asphalt, 0.92, mark=False)
    for _ in range(int(canvas.uniform(2, 7))):
        x, z = canvas.uniform(-left.kerb + 1, right.kerb - 1), canvas.uniform(4, 28)
        wide, deep = canvas.uniform(0.3, 0.9), canvas.uniform(0.4, 2.5)
        colour, light, corners, stretch = canvas.pick(
            (
                (asphalt, canvas.uniform(0.7, 1.25), 4, deep / wide),  # a patch
                (mirror, 1.0, 10, deep / wide),  # a puddle
                (asphalt, 0.6, 10, 1.0),  # a manhole
            )
        )
        outline = objects.circle(x, z, wide, corners, stretch)
        canvas.detail([(across, 0.0, ahead) for across, ahead in outline], colour, light)


def _draw_markings(canvas: Canvas, street: Street, asphalt: Colour) -> None:
    """Lines along the road and a zebra crossing, more or less worn."""
    worn, paint = canvas.uniform(0, 0.45), canvas.pick(((228, 228, 222), (228, 228, 222), (222, 190, 90)))
    colour = tuple(p + worn * (a - p) for p, a in zip(paint, asphalt, strict=True))
    clear = (street.zebra - 1.2, street.zebra + 4.2) if street.zebra else (0.0, 0.0)
    canvas.begin("lane marking")
    dash, gap = canvas.pick(((3.0, 3.0), (4.0, 2.5), (6.0, 0.0)))
    wide = canvas.uniform(0.1, 0.15)

    def line(x: float, on: float, off: float) -> None:
        z = NEAR + 0.5 + canvas.uniform(0, 1)
        while z < 60:
            if not (z < clear[1] and z + on > clear[0]):
                _band(canvas, (x - wide, x + wide), (z, z + on), colour)
            z += on + off

    line(0, dash, gap)
    for side in street.sides:
        if side.parking or canvas.chance(0.6):
            line(side.sign * (street.lane + 0.05), *canvas.pick(((6.0, 0.0), (1.5, 1.5))))
    if street.zebra:
        x = -street.lane + 0.3
        while x < street.lane - 0.3:
            _band(canvas, (x, x + 0.5), (street.zebra, street.zebra + 3), colour)
            x += 1.0
    elif canvas.chance(0.5):  # an arrow in the camera's own lane
        x, z = street.lane / 2, canvas.uniform(7, 14)
        canvas.fill([(x - 0.12, 0, z), (x + 0.12, 0, z), (x + 0.12, 0, z + 3), (x - 0.12, 0, z + 3)], colour)
        canvas.fill([(x - 0.5, 0, z + 3), (x + 0.5, 0, z + 3), (x, 0, z + 5)], colour)
