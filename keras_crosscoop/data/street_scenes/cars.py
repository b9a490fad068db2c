"""Cars for a street scene: outlines that are extruded across their width and turned to any heading."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from keras_crosscoop.data.street_scenes.drawing import Canvas, Colour, Pixel, Point
from keras_crosscoop.data.street_scenes.objects import PAINTS, circle

_GLASS, _TYRE, _HUB = (58, 68, 78), (30, 30, 32), (120, 122, 124)
_HEADLAMP, _TAILLAMP, _NUMBER_PLATE = (250, 240, 205), (170, 26, 26), (222, 222, 206)
_WHEEL, _AXLE = 0.33, 0.31  # radius in metres; the axles' distance from the middle as a share of the length
_INSET = 0.07  # how far the roof's corners stand in, as a share of the width


@dataclass(frozen=True)
class Body:
    """A car's shape: metres, and its outline from front bumper over the roof to the rear in shares of them."""

    length: float
    width: float
    height: float
    outline: tuple[tuple[float, float], ...]  # (along, up): bumper, bonnet, windscreen, roof, rear window, rear


_BODIES = (
    Body(4.0, 1.8, 1.5, ((0.5, 0.2), (0.5, 0.48), (0.24, 0.62), (0.04, 1.0), (-0.38, 1.0), (-0.49, 0.62), (-0.5, 0.2))),
    Body(4.6, 1.8, 1.45, ((0.5, 0.2), (0.5, 0.5), (0.25, 0.63), (0.08, 1.0), (-0.22, 1.0), (-0.4, 0.66), (-0.5, 0.2))),
    Body(4.5, 1.9, 1.7, ((0.5, 0.2), (0.5, 0.54), (0.26, 0.64), (0.1, 1.0), (-0.46, 1.0), (-0.5, 0.62), (-0.5, 0.2))),
    Body(5.2, 2.0, 2.2, ((0.5, 0.16), (0.5, 0.44), (0.38, 0.56), (0.26, 1.0), (-0.5, 1.0), (-0.5, 0.56), (-0.5, 0.16))),
)
_WINDSCREEN, _ROOF, _REAR_WINDOW = 2, 3, 4  # edges of an outline, by their first corner


@dataclass(frozen=True)
class Pose:
    """A body in the world: its middle at (x, z), turned clockwise by `heading` radians from driving straight ahead."""

    body: Body
    x: float
    z: float
    heading: float

    def place(self, along: float, across: float, up: float) -> Point:
        """Shares of the length, of half the width and of the height to a point of the world."""
        right, ahead = self._turned(along * self.body.length, across * self.body.width / 2)
        return self.x + right, up * self.body.height, self.z + ahead

    def quad(self, along: float, across: tuple[float, float], up: tuple[float, float]) -> list[Point]:
        """An upright rectangle across the body."""
        return [self.place(along, across[i], up[j]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]

    def light(self, canvas: Canvas, along: float, across: float) -> float:
        """Brightness of a surface with this normal, in the body's own directions."""
        return canvas.light.on(*self._turned(along, across))

    def _turned(self, along: float, across: float) -> tuple[float, float]:
        sine, cosine = math.sin(self.heading), math.cos(self.heading)
        return along * sine + across * cosine, along * cosine - across * sine


def footprint(x: float, z: float, heading: float) -> tuple[tuple[float, float], ...]:
    """The corners (x, z) of the ground that a car covers."""
    pose = Pose(_BODIES[0], x, z, heading)
    corners = (0.54, 1.1), (0.54, -1.1), (-0.54, -1.1), (-0.54, 1.1)
    points = (pose.place(along, across, 0) for along, across in corners)
    return tuple((right, ahead) for right, _, ahead in points)


def car(canvas: Canvas, x: float, z: float, heading: float) -> None:
    """Paint a car."""
    body, paint = canvas.pick(_BODIES), canvas.vary(canvas.pick(PAINTS))
    pose = Pose(body, x, z, heading)
    canvas.begin("car", thing=True)
    for axle in (_AXLE, -_AXLE):  # tyres seen end on, below the body
        for outer, inner in ((-1.0, -0.76), (1.0, 0.76)):
            canvas.fill(pose.quad(axle, (outer, inner), (0, 0.3)), _TYRE)

    widths = [1 - 2 * _INSET * (up == 1.0) for _, up in body.outline]
    surfaces: list[tuple[list[Point], int | None, int]] = []  # polygon, edge of the outline or None, side
    for side in (-1, 1):
        flank = [pose.place(along, side * width, up) for (along, up), width in zip(body.outline, widths, strict=True)]
        surfaces.append((flank[::side], None, side))
    for edge, (first, last) in enumerate(pairwise(body.outline)):
        w0, w1 = widths[edge : edge + 2]
        corners = ((*first, -w0), (*last, -w1), (*last, w1), (*first, w0))
        surfaces.append(([pose.place(along, across, up) for along, up, across in corners], edge, 0))

    surfaces.sort(key=lambda surface: sum(z for _, _, z in surface[0]) / len(surface[0]), reverse=True)
    for polygon, edge, side in surfaces:
        if not _faces_camera(canvas.camera.project(polygon)):
            continue
        if edge is None:
            light = pose.light(canvas, 0, side)
            canvas.fill(polygon, paint, light)
            _paint_flank(canvas, pose, side, light)
        else:
            _paint_edge(canvas, pose, polygon, edge, paint)


def _faces_camera(corners: Sequence[Pixel]) -> bool:
    """True for a polygon that runs counter-clockwise on the screen, whose rows count downwards."""
    following = [*corners[1:], corners[0]]
    return sum(u0 * v1 - u1 * v0 for (u0, v0), (u1, v1) in zip(corners, following, strict=True)) < 0


def _paint_edge(canvas: Canvas, pose: Pose, polygon: list[Point], edge: int, paint: Colour) -> None:
    """Front, bonnet, windscreen, roof, rear window or rear."""
    flat = edge in (1, _ROOF)
    light = 1.12 if flat else pose.light(canvas, 1 if edge < _ROOF else -1, 0)
    canvas.fill(polygon, paint, light)
    if edge in (_WINDSCREEN, _REAR_WINDOW):
        middle = [sum(axis) / len(polygon) for axis in zip(*polygon, strict=True)]
        pane = [tuple(0.9 * p + 0.1 * m for p, m in zip(point, middle, strict=True)) for point in polygon]
        canvas.detail(pane, canvas.vary(_GLASS, 0.2), light * 1.1)
    elif not flat:
        front = edge == 0
        along, lamp, rise = (0.501, _HEADLAMP, (0.38, 0.47)) if front else (-0.501, _TAILLAMP, (0.42, 0.56))
        for across in ((0.62, 0.94), (-0.94, -0.62)):
            canvas.detail(pose.quad(along, across, rise), lamp, light, glow=canvas.light.lamps > 0.2)
        canvas.detail(pose.quad(along, (-0.28, 0.28), (0.28, 0.35)), _NUMBER_PLATE, light)
        canvas.detail(pose.quad(along, (-0.95, 0.95), (0.16, 0.22)), _TYRE)


def _paint_flank(canvas: Canvas, pose: Pose, side: int, light: float) -> None:
    """Windows, sill and wheels of a side."""
    (front, belt), (front_top, _), (rear_top, _), (rear, _) = pose.body.outline[2:6]
    front, rear, belt = front - 0.05, rear + 0.06, max(belt, 0.6)
    pillar, glass = (front_top + rear_top) / 2 + 0.02, canvas.vary(_GLASS, 0.25)
    top = side * (1 - 1.7 * _INSET)
    for low, high in (
        ((front, pillar + 0.012), (front_top - 0.02, pillar + 0.012)),
        ((pillar - 0.012, rear), (pillar - 0.012, rear_top + 0.02)),
    ):
        corners = ((low[0], side, belt), (low[1], side, belt), (high[1], top, 0.93), (high[0], top, 0.93))
        canvas.detail([pose.place(*corner) for corner in corners], glass, light)
    sill = ((0.5, 0.2), (-0.5, 0.2), (-0.5, 0.26), (0.5, 0.26))
    canvas.detail([pose.place(along, side, up) for along, up in sill], _TYRE)
    for axle in (_AXLE, -_AXLE):
        for radius, colour, paint in ((_WHEEL, _TYRE, canvas.fill), (0.55 * _WHEEL, _HUB, canvas.detail)):
            rim = circle(0, _WHEEL, radius)
            length, height = pose.body.length, pose.body.height
            paint([pose.place(axle + along / length, side, up / height) for along, up in rim], colour, light)
