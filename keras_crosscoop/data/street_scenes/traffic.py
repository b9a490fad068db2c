"""Who is on the move in a street scene: cars in their lanes, at the kerb and in side streets, and people on foot."""

import math
from collections.abc import Iterator

from keras_crosscoop.data.street_scenes import objects
from keras_crosscoop.data.street_scenes.cars import car, footprint
from keras_crosscoop.data.street_scenes.drawing import Canvas
from keras_crosscoop.data.street_scenes.layout import Side, Street
from keras_crosscoop.data.street_scenes.things import Layer, Thing

_SEEN = 70.0  # metres; no car is placed beyond


def place_traffic(canvas: Canvas, street: Street) -> Iterator[Thing]:
    """All cars and all people."""
    clear = (street.zebra - 3.5, street.zebra + 6) if street.zebra else (0.0, 0.0)
    yield from _driving(canvas, street.lane / 2, 0.0, 11, clear)
    yield from _driving(canvas, -street.lane / 2, math.pi, 8, clear)
    for side in street.sides:
        if side.parking:
            yield from _parking(canvas, side, clear)
        if side.junction[1] and canvas.chance(0.6):
            x = side.sign * (side.kerb + canvas.uniform(1, 9))
            layer = Layer.BEHIND if abs(x) > side.front else Layer.PAVEMENT
            yield _car(canvas, layer, x, sum(side.junction) / 2, canvas.pick((-1, 1)) * math.pi / 2)
        yield from _walking(canvas, side)
    if street.zebra:
        for _ in range(int(canvas.uniform(0, 4))):
            at = canvas.uniform(-street.lane, street.lane), street.zebra + canvas.uniform(0.5, 2.5)
            yield _person(canvas, Layer.ROAD, at)


def _car(canvas: Canvas, layer: Layer, x: float, z: float, heading: float) -> Thing:
    heading += canvas.uniform(-0.05, 0.05)
    return Thing(layer, z, lambda: car(canvas, x, z, heading), footprint(x, z, heading), 1.2)


def _person(canvas: Canvas, layer: Layer, at: tuple[float, float]) -> Thing:
    return Thing.round(canvas, layer, objects.person, at, radius=0.3, high=1.5)


def _driving(canvas: Canvas, x: float, heading: float, nearest: float, clear: tuple[float, float]) -> Iterator[Thing]:
    """Cars in one lane, but for the zebra crossing."""
    z = nearest + canvas.uniform(0, 14)
    while z < _SEEN:
        if canvas.chance(0.6) and not clear[0] < z < clear[1]:
            yield _car(canvas, Layer.ROAD, x + canvas.uniform(-0.3, 0.3), z, heading)
        z += canvas.uniform(9, 26)


def _parking(canvas: Canvas, side: Side, clear: tuple[float, float]) -> Iterator[Thing]:
    """Cars along the kerb, but for the zebra crossing and the side street."""
    z, density = canvas.uniform(5.5, 9), canvas.uniform(0.35, 0.95)
    while z < _SEEN:
        if canvas.chance(density) and not side.joined(z - 3, z + 3) and not clear[0] < z < clear[1]:
            x = side.sign * (side.kerb - 1.1 + canvas.uniform(-0.1, 0.1))
            yield _car(canvas, Layer.ROAD, x, z, 0.0 if side.sign > 0 else math.pi)
        z += canvas.uniform(5.6, 7)


def _walking(canvas: Canvas, side: Side) -> Iterator[Thing]:
    """People on the pavement, alone or in pairs."""
    for _ in range(int(canvas.uniform(0, 6))):
        x, z = side.sign * canvas.uniform(side.paving + 0.8, side.yard - 0.4), canvas.uniform(5, 22)
        for companion in range(canvas.pick((1, 1, 2))):
            yield _person(canvas, Layer.PAVEMENT, (x + 0.7 * companion, z + 0.2 * companion))
