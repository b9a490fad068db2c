"""What stands beside the road of a street scene: buildings, gardens, and what is put up along the kerb."""

from collections.abc import Iterator
from functools import partial

from keras_crosscoop.data.street_scenes import buildings, objects
from keras_crosscoop.data.street_scenes.drawing import NEAR, Canvas
from keras_crosscoop.data.street_scenes.layout import FAR, Side
from keras_crosscoop.data.street_scenes.things import Layer, Thing

_SEEN = 70.0  # metres; nothing smaller than a building is placed beyond


def place_roadside(canvas: Canvas, side: Side) -> Iterator[Thing]:
    """Everything that stands on one side of the street, but for people and cars."""
    yield from _fronts(canvas, side)
    if side.homes or side.built < 0.8:
        yield from _gardens(canvas, side)
    yield from _furniture(canvas, side)


def _tree(canvas: Canvas, layer: Layer, x: float, z: float) -> Thing:
    tall, at = canvas.uniform(4.5, 9), (x, max(z, NEAR + 1.5))
    return Thing.round(canvas, layer, objects.tree, at, tall, radius=0.22 * tall, high=0.7 * tall)


def _fronts(canvas: Canvas, side: Side) -> Iterator[Thing]:
    """A row of buildings, with trees in its gaps."""
    z = NEAR - canvas.uniform(0, 8)
    while z < FAR:
        if side.joined(z, z + 6):
            z = side.junction[1] + canvas.uniform(0.5, 2)
        end = z + (canvas.uniform(8, 12) if side.homes else canvas.uniform(9, 20))
        if side.joined(z, end):
            end = side.junction[0] - 0.5
        if canvas.chance(side.built):
            storeys = canvas.pick((1, 2, 2)) if side.homes else canvas.pick((2, 3, 4, 5))
            x, back = side.sign * side.front, side.sign * (side.front + 9)
            paint = partial(buildings.building, canvas, side.sign, x, z, end, storeys, gabled=side.homes)
            yield Thing(Layer.BEHIND, z, paint, ((x, z), (x, end), (back, end), (back, z)), 3.0 * storeys)
        else:
            for _ in range(2):
                x = side.sign * (side.front + canvas.uniform(1, 9))
                yield _tree(canvas, Layer.BEHIND, x, canvas.uniform(z, end))
        z = end + (canvas.uniform(2, 6) if side.homes else canvas.pick((0.0, 0.0, 3.0)))


def _border(canvas: Canvas, layer: Layer, kind: str, side: Side, x: float, z: float, end: float) -> Thing:
    """A fence or hedge along the street, from `z` to `end`."""
    paint = partial(buildings.BORDERS[kind], canvas, kind, side.sign, x, z, end)
    return Thing(layer, z, paint, ((x, z), (x, end), (x + 0.2, end), (x + 0.2, z)), 1.0)


def _gardens(canvas: Canvas, side: Side) -> Iterator[Thing]:
    """Fences and hedges where the pavement ends, and trees behind them."""
    z, enclosed = NEAR, canvas.uniform(0.7, 1)
    while z < _SEEN:
        end = z + canvas.uniform(7, 16)
        if not side.joined(z, end):
            if canvas.chance(enclosed):
                kind = canvas.pick(("pickets", "boards", "rails", "masonry", "masonry", "hedge"))
                yield _border(canvas, Layer.FENCE, kind, side, side.sign * (side.yard + 0.1), z, end)
            if side.homes and canvas.chance(0.35):
                x = side.sign * canvas.uniform(side.yard + 1, side.front - 0.5)
                yield _tree(canvas, Layer.GARDEN, x, canvas.uniform(z, end))
        z = end + canvas.pick((0.0, 1.2, 3.0))


def _furniture(canvas: Canvas, side: Side) -> Iterator[Thing]:
    """Signs, lamp posts, bollards, railings and trees along the kerb, and road works."""
    x, taken = side.sign * (side.kerb + 0.6), [side.junction] if side.junction[1] else []

    def free(near: float, far: float) -> bool:
        """Claim a stretch of the kerb, unless something stands there or the side street runs there."""
        if any(near < end and far > start for start, end in taken):
            return False
        taken.append((near, far))
        return True

    for _ in range(canvas.pick((1, 1, 2, 2, 3))):
        z = canvas.uniform(6, 22)
        if free(z - 0.8, z + 0.8):
            yield Thing.round(canvas, Layer.KERB, objects.sign, (x, z), radius=0.15, high=2.5)
    if canvas.chance(0.25):
        z = canvas.uniform(5, 12)
        for start in (z + 2.5 * step for step in range(int(canvas.uniform(2, 7)))):
            if free(start, start + 2.5):
                yield _border(canvas, Layer.KERB, "rails", side, x - side.sign * 0.2, start, start + 2.5)
    z, pitch = canvas.uniform(4.5, 14), canvas.uniform(10, 20)
    while z < _SEEN:
        if free(z - 0.6, z + 0.6):
            yield Thing.round(canvas, Layer.KERB, objects.lamp_post, (x, z), side.sign, radius=0.18, high=5.0)
        z += pitch
    if canvas.chance(0.35):
        start = canvas.uniform(5, 12)
        for z in (start + 1.9 * step for step in range(int(canvas.uniform(2, 6)))):
            if free(z - 0.4, z + 0.4):
                yield Thing.round(canvas, Layer.KERB, objects.bollard, (x, z), radius=0.15, high=0.8)
    planted = side.paving > side.kerb or side.built > 0.9
    z, pitch = canvas.uniform(5, 20), canvas.uniform(7, 14)
    while planted and z < _SEEN:
        if canvas.chance(0.7) and free(z - 0.8, z + 0.8):
            yield _tree(canvas, Layer.KERB, x + side.sign * 0.3, z)
        z += pitch
    if canvas.chance(0.3):
        at = side.sign * (side.paving + 1.4), canvas.uniform(7, 20)
        yield Thing.round(canvas, Layer.PAVEMENT, buildings.barrier, at, radius=1.0, high=1.0)
