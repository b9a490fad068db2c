"""Things that stand on the ground of a street scene: the order to paint them in, and their shadows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

from keras_crosscoop.data.street_scenes.drawing import NEAR, Canvas, Light, Point
from keras_crosscoop.data.street_scenes.objects import circle

Ground = Sequence[tuple[float, float]]  # corners (x, z)

_SUNNY = 0.2  # less direct light than this casts no shadows
_FAINT = 45.0  # metres; shadows further away can hardly be seen
_DEPTH_BELOW = 0.5  # how dark the ground is right below a thing


class Layer(IntEnum):
    """Strips of the ground, painted in this order: seen from the road, each can only hide those before it."""

    BEHIND = 0  # the line of the buildings, and beyond
    GARDEN = 1
    FENCE = 2
    PAVEMENT = 3
    KERB = 4
    ROAD = 5


@dataclass(frozen=True)
class Thing:
    """Something to paint; within a layer, what is further away comes first."""

    layer: Layer
    z: float
    paint: Callable[[], None]
    ground: Ground  # what it stands on
    high: float  # metres, for its shadow

    @classmethod
    def round(
        cls, canvas: Canvas, layer: Layer, paint: Callable[..., None], at: tuple[float, float], *extra: Any,
        radius: float, high: float,
    ) -> "Thing":  # fmt: skip
        """What stands at one spot; `extra` are further arguments of `paint`."""
        return cls(layer, at[1], partial(paint, canvas, *at, *extra), circle(*at, radius, 6), high)


def paint_things(canvas: Canvas, things: Sequence[Thing]) -> None:
    """Paint all their shadows, then the things from back to front."""
    canvas.cast(_shadows(things, canvas.light))
    for thing in sorted(things, key=lambda thing: (thing.layer, -thing.z)):
        if canvas.sees(thing.ground, thing.high):  # nothing reaches further sideways than it is high
            thing.paint()


def _shadows(things: Sequence[Thing], light: Light) -> Iterator[tuple[list[Point], float]]:
    """Polygons of the ground that is in the shade, each with how deep the shade is."""
    if light.direct > _SUNNY:
        for thing in things:  # each is taken for a prism on its ground
            if thing.z > _FAINT:
                continue
            foot = _moved(thing.ground, 0, 0)
            top = _moved(thing.ground, -light.sun[0] * thing.high, -light.sun[1] * thing.high)
            walls = ([foot[corner - 1], foot[corner], top[corner], top[corner - 1]] for corner in range(len(foot)))
            yield from ((polygon, 0.9 * light.direct) for polygon in (*walls, top))
    for thing in things:
        if thing.layer >= Layer.PAVEMENT:
            yield _moved(thing.ground, 0, 0), _DEPTH_BELOW


def _moved(ground: Ground, x: float, z: float) -> list[Point]:
    return [(right + x, 0.0, max(NEAR, ahead + z)) for right, ahead in ground]
