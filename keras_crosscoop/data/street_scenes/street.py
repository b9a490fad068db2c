"""A street: its ground, and the objects along it."""

import math
import random
from collections import namedtuple
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from keras_crosscoop.data.street_scenes import objects
from keras_crosscoop.data.street_scenes.canvas import NEAR, Canvas, Point
from keras_crosscoop.data.street_scenes.objects import WHITE, YELLOW, border, box, car, figure, tree

_FAR = 120.0  # metres to the end of the street
_ASPHALTS = ((84, 84, 88), (104, 102, 100), (122, 120, 120), (70, 72, 78), (112, 104, 98))
_PAVINGS = ((146, 142, 136), (128, 126, 126), (168, 156, 142), (150, 122, 108), (112, 112, 116))
_GRASSES = ((92, 118, 58), (108, 122, 66), (132, 126, 78), (78, 104, 56))
_STOPS = (3.0, 4.0, 5.5, 7.5, 10.0, 14.0, 19.0, 26.0, 36.0, 50.0, 70.0, 95.0)  # haze is even between two of them
_TREE, _PERSON, _CAR = (1.3, 1.3, 4.7), (0.3, 0.3, 1.5), (0.9, 2.2, 1.2)  # half the width, half the depth, height
_ROWS = (  # painter, size, zone, metres behind its edge; chance of a row and of a place, places, first, pitch
    (partial(figure, "sign"), (0.15, 0.15, 2.5), "kerb", (0.6, 0.7), 1.0, 0.8, (1, 3), (6, 15), (3, 8)),
    (partial(border, "railing"), (0.1, 1.2, 1.0), "kerb", (0.4, 0.4), 0.3, 1.0, (2, 6), (6, 13), (2.5, 2.5)),
    (partial(figure, "lamp post"), (0.2, 0.2, 5.0), "kerb", (0.5, 0.6), 1.0, 0.9, (5, 5), (5, 16), (10, 20)),
    (partial(figure, "bollard"), (0.15, 0.15, 0.8), "kerb", (0.5, 0.5), 0.25, 1.0, (2, 5), (6, 12), (1.9, 1.9)),
    (tree, _TREE, "kerb", (0.9, 0.9), 0.4, 0.6, (6, 6), (5, 20), (7, 14)),
    (partial(figure, "person"), _PERSON, "paving", (0.8, 2.2), 0.95, 0.9, (1, 6), (5, 9), (0.7, 4)),
    (car, _CAR, "lane", (-0.3, 0.3), 1.0, 0.55, (4, 4), (9, 24), (9, 26)),
    (car, _CAR, "parking", (1.0, 1.2), 1.0, 0.55, (10, 10), (5.5, 9), (5.6, 7)),
)
Thing = namedtuple("Thing", "x z size paint")  # (x, z) is its centre on the ground; painters take a canvas, x and z


class Side:
    """One side of a street: metres from the road's middle to the zones along it."""

    def __init__(self, rng: random.Random, sign: int, width: float) -> None:
        self.sign, self.lane, self.homes = sign, width / 2, rng.random() < 0.55  # left -1; homes have gardens
        self.parking = width if rng.random() < 0.45 else None
        self.kerb = width + (2.2 if self.parking else 0.3)
        self.paving = self.kerb + (rng.uniform(1.5, 3.0) if rng.random() < (0.7 if self.homes else 0.3) else 0.0)
        self.yard = self.paving + rng.uniform(2.6, 4.8)
        self.front = self.yard + (rng.uniform(3.0, 7.0) if self.homes else 0.0)
        self.built = rng.choice((0.95, 0.9, 0.75, 0.35))  # share of the plots with a building
        near = rng.uniform(13, 40) if rng.random() < 0.35 else -99.0
        self.mouth = near, near + rng.uniform(6, 8)  # near and far end of a side street

    def zone(self, x: float) -> int:
        """The zone at `x`. Seen from the road, no zone hides one with a greater number."""
        return sum(abs(x) < edge for edge in (self.front, self.yard, self.yard - 0.3, self.kerb + 0.95, self.kerb))


def draw_street(canvas: Canvas) -> None:
    """Draws a street and its objects, from back to front."""
    rng = canvas.rng
    width, zebra = rng.uniform(2.8, 3.4), rng.uniform(7, 22) if rng.random() < 0.5 else -99.0  # of a lane; crossing
    sides = [Side(rng, sign, width) for sign in (-1, 1)]
    _draw_ground(canvas, sides, width, zebra)
    things = [thing for side in sides for thing in (*_plots(rng, side), *_rows(rng, side, zebra))]
    for x in [rng.uniform(-width, width) for _ in range(rng.randint(0, 3) if zebra > 0 else 0)]:
        things.append(Thing(x, zebra + rng.uniform(0.5, 2.5), _PERSON, partial(figure, "person")))
    things.sort(key=lambda thing: (sides[thing.x > 0].zone(thing.x), thing.size[1] - thing.z))
    canvas.shade(_shadows(canvas, things))
    for thing in things:
        if abs(thing.x - canvas.x) < thing.z + thing.size[1] + 5:  # others are out of sight
            thing.paint(canvas, thing.x, thing.z)


def _flat(outline: objects.Outline) -> list[Point]:
    return [(x, 0.0, z) for x, z in outline]


def _shadows(canvas: Canvas, things: list[Thing]) -> Iterator[tuple[list[Point], float]]:
    """Yields shadows with their depths: of boxes if the sun shines, then the dark ground below small objects."""
    (sun_x, sun_z), sunlight = canvas.sun, canvas.direct
    grounds = [box(x - half, x + half, z - depth, z + depth) for x, z, (half, depth, _), _ in things]
    for foot, thing in zip(grounds, things, strict=True):
        if sunlight > 0.2 and thing.z < 45:
            top = [(x - sun_x * thing.size[2], z - sun_z * thing.size[2]) for x, z in foot]
            sides = ([foot[corner - 1], foot[corner], top[corner], top[corner - 1]] for corner in range(4))
            yield from ((_flat(outline), 0.9 * sunlight) for outline in (*sides, top))
    yield from ((_flat(foot), 0.5) for foot, thing in zip(grounds, things, strict=True) if thing.size[2] < 3)


def _draw_ground(canvas: Canvas, sides: list[Side], width: float, zebra: float) -> None:
    """Draws the skyline, grass, pavements, the road with its side streets, and the lane markings."""
    rng, asphalt, paving, length = canvas.rng, canvas.pick(_ASPHALTS), canvas.pick(_PAVINGS), (NEAR, _FAR)
    for x in range(-110, 110, 11):
        is_tree, height = rng.random() < 0.5, rng.uniform(6, 22)
        outline = objects.circle(7, 0, 10, 9, height / 22) if is_tree else box(0, 14, -12, height)
        canvas.begin("tree" if is_tree else "building")
        canvas.fill(objects.facing(x, _FAR, outline), canvas.pick(objects.LEAVES if is_tree else objects.WALLS), 0.85)
    worn, half, lines = rng.uniform(0, 0.45), rng.uniform(0.1, 0.15), [(0.0, *rng.choice(((3, 3), (4, 2.5), (6, 0))))]
    paint = [(1 - worn) * p + worn * a for p, a in zip(rng.choice(WHITE * 2 + YELLOW), asphalt, strict=True)]
    bands = [("grass", -160, 160, *length, canvas.pick(_GRASSES), 1.0)]
    for side in sides:
        edges = 0, side.lane, side.kerb, side.kerb + 0.28, side.paving, side.yard, 90
        middle, lane, kerb, stone, paved, yard, end = (side.sign * edge for edge in edges)
        bands += [("pavement", paved, yard, *length, paving, 1.0), ("pavement", kerb, stone, *length, paving, 1.16)]
        bands += [("pavement", paved, yard, z / 5, z / 5 + 0.06, paving, 0.86) for z in range(10, 160, 7)]  # joints
        bands += [("road", middle, kerb, *length, asphalt, 1.0), ("road", kerb, end, *side.mouth, asphalt, 1.0)]
        bands += [("road", lane + x, lane + x + 0.6, NEAR, 60, asphalt, 0.92) for x in (-1.1, 0.5)]  # wheel tracks
        if side.parking or rng.random() < 0.6:
            lines.append((side.sign * width, *rng.choice(((6, 0), (1.5, 1.5)))))
    for x, dash, gap in lines:
        for z in (NEAR + number * (dash + gap) for number in range(int(58 / (dash + gap)))):
            if not zebra - 1.2 - dash < z < zebra + 4.2:
                bands.append(("lane marking", x - half, x + half, z, z + dash, paint, 1.0))
    for x in (stripe - width + 0.3 for stripe in range(int(2 * width - 0.6) if zebra > 0 else 0)):
        bands.append(("lane marking", x, x + 0.5, zebra, zebra + 3, paint, 1.0))
    for name, x0, x1, z0, z1, colour, light in bands:
        canvas.begin(name)
        for near, far in reversed(list(pairwise([z0, *(stop for stop in _STOPS if z0 < stop < z1), z1]))):
            canvas.fill(_flat(box(x0, x1, near, far)), colour, light)
    canvas.begin("road")
    for light, corners, stretch in rng.choices(((0.75, 4, 3), (1.2, 4, 2), (0.6, 10, 1), (1.3, 10, 2)), k=4):
        patch = objects.circle(rng.uniform(-width, width), rng.uniform(4, 28), rng.uniform(0.3, 0.9), corners, stretch)
        canvas.fill(_flat(patch), asphalt, light)


def _plots(rng: random.Random, side: Side) -> Iterator[Thing]:
    """Yields buildings, trees in the gaps between them, and gardens with fences and trees."""
    lengths, gaps, storeys = ((8, 12), (1, 2, 4), (1, 2, 2)) if side.homes else ((9, 20), (0, 0, 3), (2, 3, 4, 5))
    z = NEAR - rng.uniform(0, 8)
    while z < _FAR:
        near, far = max(z, NEAR), z + rng.uniform(*lengths)
        z, half, middle = far + rng.choice(gaps), (far - near) / 2, (far + near) / 2
        if half < 0.5 or (near < side.mouth[1] and far > side.mouth[0]):
            continue
        trees = [side.front + rng.uniform(1, 9) for _ in range(2)]
        if rng.random() < side.built:
            trees = [rng.uniform(side.yard + 1, side.front)] if side.homes and rng.random() < 0.4 else []
            paint = partial(objects.building, length=far - near, storeys=rng.choice(storeys), gabled=side.homes)
            yield Thing(side.sign * (side.front + 4.5), middle, (4.5, half, 6.0), paint)
        yield from (Thing(side.sign * x, rng.uniform(near + 2, far + 2), _TREE, tree) for x in trees)
        kind = rng.choice(("boards", "boards", "railing", "wall", "wall", "hedge", None))
        if kind and z < 70 and (side.homes or side.built < 0.8):
            paint = partial(border, kind, length=z - near)
            yield Thing(side.sign * (side.yard - 0.1), middle, (0.1, half, 1.0), paint)


def _rows(rng: random.Random, side: Side, zebra: float) -> Iterator[Thing]:
    """Yields rows of objects along the street, except where the crossing or a side street is in the way."""
    near, far = side.mouth
    for paint, size, zone, offsets, row_chance, chance, counts, first, pitch in _ROWS:
        edge, z = getattr(side, zone), rng.uniform(*first)
        for _ in range(rng.randint(*counts) if edge and rng.random() < row_chance else 0):
            is_blocked = (zebra - 3.5 < z < zebra + 6) if zone == "lane" else (near - 1.5 < z < far + 1.5)
            if z < 70 and rng.random() < chance and not is_blocked:
                yield Thing(side.sign * (edge + rng.uniform(*offsets)), z, size, paint)
            z += rng.uniform(*pitch)
    if near > 0 and rng.random() < 0.6:
        paint = partial(car, heading=rng.choice((-1, 1)) * math.pi / 2)
        yield Thing(side.sign * (side.kerb + rng.uniform(1, 9)), (near + far) / 2, (2.2, 0.9, 1.2), paint)
