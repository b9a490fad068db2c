"""Buildings, hedges and fences along a street scene: upright surfaces that recede with the street."""

import math

from keras_crosscoop.data.street_scenes.drawing import NEAR, Canvas, Colour, Point
from keras_crosscoop.data.street_scenes.objects import BLUE, GREEN, LEAVES, METALS, RED, WHITE, YELLOW

_WALLS = (
    (150, 82, 62), (170, 108, 80), (196, 176, 140), (206, 196, 176), (160, 160, 158), (126, 128, 132),
    (186, 150, 118), (150, 164, 172), (172, 146, 146), (134, 146, 120), (110, 86, 72), (214, 206, 196),
)  # fmt: skip
_ROOFS = ((112, 62, 48), (78, 74, 74), (96, 84, 72), (122, 92, 78))
_PANES = ((52, 60, 70), (74, 88, 102), (118, 136, 152), (40, 42, 48))
_LAMPLIGHT = (250, 208, 130)
_BOARDS = ((126, 98, 70), (156, 128, 94), (222, 222, 216), (96, 110, 90))
_STOREY = 3.0  # metres


def wall(x: float, z0: float, z1: float, low: float, high: float) -> list[Point]:
    """An upright rectangle along the street, from `z0` to `z1`."""
    return [(x, low, z0), (x, low, z1), (x, high, z1), (x, high, z0)]


def front(x0: float, x1: float, z: float, low: float, high: float) -> list[Point]:
    """An upright rectangle across the street."""
    return [(x0, low, z), (x1, low, z), (x1, high, z), (x0, high, z)]


def building(canvas: Canvas, side: int, x: float, z0: float, z1: float, storeys: int, *, gabled: bool) -> None:
    """A house whose front is at `x` on the left (-1) or right (1), from `z0` to `z1`."""
    z0, z1 = max(z0, NEAR), max(z1, NEAR + 0.5)
    colour, high = canvas.vary(canvas.pick(_WALLS), 0.12), _STOREY * storeys + 0.8
    trim = canvas.vary(canvas.pick((colour, (200, 196, 186), (90, 84, 80))))
    canvas.begin("building")
    _end_wall(canvas, x, x + side * canvas.uniform(8, 12), z0, z1, storeys, colour, gabled=gabled)

    light, shop = canvas.light.on(-side, 0), canvas.chance(0.5) and not gabled
    bays, pane = max(1, round((z1 - z0) / 3)), canvas.uniform(0.4, 0.62)
    for bay in reversed(range(bays)):
        start, end = (z0 + (z1 - z0) * (bay + step) / bays for step in (0, 1))
        canvas.fill(wall(x, start, end, -0.3, high), colour, light)
        if start > 75:
            continue
        margin = (end - start) * (1 - pane) / 2
        for storey in range(storeys):
            low = _STOREY * storey
            if storey == 0 and shop:
                _window(canvas, wall(x, start + 0.3, end - 0.3, 0.4, 2.5), light)
            elif storey == 0 and bay % 3 == 1:  # a door
                canvas.detail(wall(x, start + margin, start + margin + 1.1, 0, 2.2), trim, 0.55)
            else:
                if start < 30:
                    frame = wall(x, start + margin - 0.12, end - margin + 0.12, low + 0.85, low + 2.5)
                    canvas.detail(frame, trim, light)
                _window(canvas, wall(x, start + margin, end - margin, low + 1, low + 2.4), light)
        canvas.detail(wall(x, start, end, high - 0.45, high), trim, 0.85 * light)
        if shop:
            canvas.detail(wall(x, start, end, 2.6, 3.1), trim, light)
    if shop and z0 < 50:
        _shop_front(canvas, side, x, z0, z1, light)


def _end_wall(
    canvas: Canvas, x: float, back: float, z0: float, z1: float, storeys: int, colour: Colour, *, gabled: bool
) -> None:
    """The wall that faces the camera, with the roof where there is a gable."""
    high, light = _STOREY * storeys + 0.8, canvas.light.on(0, -1)
    if gabled:
        roof, middle, ridge = canvas.vary(canvas.pick(_ROOFS), 0.12), (x + back) / 2, high + canvas.uniform(2.0, 3.2)
        slope = [(x, high, z0), (x, high, z1), (middle, ridge, z1), (middle, ridge, z0)]
        canvas.fill(slope, roof, canvas.light.on(math.copysign(1, x - back), 0))
        canvas.fill([(x, high, z0), (middle, ridge, z0), (back, high, z0)], colour, light)
    canvas.fill(front(x, back, z0, -0.3, high), colour, light)
    for storey in range(storeys if z0 < 60 else 0):
        for share in (0.25, 0.6):
            left, low = x + share * (back - x), _STOREY * storey
            _window(canvas, front(left, left + 0.12 * (back - x), z0, low + 1, low + 2.3), light)


def _window(canvas: Canvas, pane: list[Point], light: float) -> None:
    """A window that is dark, mirrors the sky or has a light on."""
    if canvas.chance(canvas.light.lamps):
        canvas.detail(pane, canvas.vary(_LAMPLIGHT), glow=True)
    else:
        canvas.detail(pane, canvas.vary(canvas.pick(_PANES), 0.15), light)


def _shop_front(canvas: Canvas, side: int, x: float, z0: float, z1: float, light: float) -> None:
    """An awning over the pavement and a lettered board, in the colours of traffic signs."""
    colour = canvas.vary(canvas.pick((RED, BLUE, GREEN, YELLOW, WHITE)))
    start = z0 + canvas.uniform(0.1, 0.3) * (z1 - z0)
    end = start + 0.6 * (z1 - z0)
    if canvas.chance(0.6):
        reach = x - side * 1.2
        canvas.fill([(x, 3.2, start), (x, 3.2, end), (reach, 2.5, end), (reach, 2.5, start)], colour, 1.1)
        canvas.fill([(x, 3.2, start), (x, 2.5, start), (reach, 2.5, start)], colour, 0.7)
    else:
        canvas.detail(wall(x, start, end, 2.5, 3.3), colour, light)
        canvas.detail(wall(x, start + 0.1 * (end - start), end - 0.2 * (end - start), 2.75, 3.05), WHITE, light)


def fence(canvas: Canvas, kind: str, side: int, x: float, z0: float, z1: float) -> None:
    """A fence or a garden wall at `x`, from `z0` to `z1`: pickets, boards, rails or masonry."""
    high = canvas.uniform(1.4, 2.0) if kind == "boards" else canvas.uniform(1.0, 1.5)
    palette = {"rails": METALS, "masonry": _WALLS}.get(kind, _BOARDS)
    colour, light = canvas.vary(canvas.pick(palette), 0.12), canvas.light.on(-side, 0)
    canvas.begin("fence")
    z1 = max(z1, NEAR + 0.5)
    pieces = max(1, round((z1 - z0) / 2.2))
    for piece in reversed(range(pieces)):
        start, end = (max(NEAR, z0 + (z1 - z0) * (piece + step) / pieces) for step in (0, 1))
        if end <= NEAR:
            continue
        canvas.fill(wall(x, start, end, -0.05, high), colour, light)
        if start < 45:
            _fence_detail(canvas, kind, colour, x, (start, end), high, light)


def _fence_detail(
    canvas: Canvas, kind: str, colour: Colour, x: float, reach: tuple[float, float], high: float, light: float
) -> None:
    """Courses and coping of masonry; else gaps between pickets or rails, joints between boards, a post."""
    start, end = reach
    if kind == "masonry":
        for course in (0.33, 0.66):
            canvas.detail(wall(x, start, end, high * course, high * course + 0.04), colour, 0.75 * light)
        canvas.detail(wall(x, start, end, high - 0.15, high), colour, 1.15 * light)
        return
    gaps, share, shade = (4, 0.12, 0.6) if kind == "boards" else (6, 0.5, 0.45)
    pitch = (end - start) / gaps
    for gap in range(gaps if start < 22 else 0):
        left = start + pitch * (gap + 0.5)
        canvas.detail(wall(x, left, min(left + share * pitch, end), 0.12, high - 0.14), colour, shade * light)
    canvas.detail(wall(x, start, min(start + 0.14, end), 0, high), colour, 0.8 * light)


def hedge(canvas: Canvas, _: str, side: int, x: float, z0: float, z1: float) -> None:
    """A clipped hedge at `x`, from `z0` to `z1`: leaves in the shape of a wall."""
    high, leaf = canvas.uniform(0.8, 1.5), canvas.vary(canvas.pick(LEAVES[:4]), 0.12)
    light = canvas.light.on(-side, 0)
    canvas.begin("tree")
    start = max(z0, NEAR)
    while start < z1:
        end = start + max(0.8, start * 0.12)
        top = high + canvas.uniform(0, 0.15)
        canvas.fill(wall(x, start, end, -0.05, top), leaf, 0.85 * light)
        canvas.detail(wall(x, start, end, top - 0.3, top), leaf, canvas.uniform(1.0, 1.25))
        start = end


def barrier(canvas: Canvas, x: float, z: float) -> None:
    """A barrier of red and white boards round road works, facing the camera."""
    wide, colour = canvas.uniform(1.0, 1.6), canvas.pick((RED, YELLOW))
    canvas.begin("fence", thing=True)
    canvas.fill(front(x - wide, x + wide, z, 0, 1.1), (120, 118, 114), 0.55)
    for low in (0.25, 0.7):
        canvas.detail(front(x - wide, x + wide, z, low, low + 0.38), WHITE)
        for stripe in range(-3, 3):
            left = x + wide * (stripe / 3.6 - 0.1)
            slant = [(left, low, z), (left + 0.2, low, z), (left + 0.36, low + 0.38, z), (left + 0.16, low + 0.38, z)]
            canvas.detail(slant, colour)


BORDERS = {"pickets": fence, "boards": fence, "rails": fence, "masonry": fence, "hedge": hedge}
