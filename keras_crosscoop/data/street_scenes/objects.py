"""Objects of street scenes. Each painter draws one object onto a canvas, around a centre (x, z) on the ground."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from keras_crosscoop.data.street_scenes.canvas import Canvas, Colour, Point

Outline = Sequence[tuple[float, float]]  # in metres, or in shares of the size of an object
Part = tuple[Outline, Sequence, float | None]  # with its colour or colours to pick from, and its brightness

# Colours to pick from. Classes share some on purpose: grey cars on grey roads, green coats before green hedges.
RED, BLUE, GREEN, YELLOW = ((186, 32, 36),), ((36, 78, 160),), ((30, 108, 72),), ((222, 178, 46),)
WHITE, BLACK, GLASS, HUB = ((232, 232, 226),), ((34, 34, 36),), ((58, 68, 78),), ((120, 122, 124),)
LIT, HEADLAMP, TAILLAMP = ((250, 208, 130),), ((250, 240, 205),), ((170, 26, 26),)
LEAVES = ((66, 96, 44), (84, 112, 52), (50, 80, 50), (108, 118, 56), (150, 112, 46), (146, 78, 44), (120, 100, 62))
BRICKS = ((150, 82, 62), (170, 108, 80), (186, 150, 118), (110, 86, 72), (172, 146, 146), (134, 146, 120))
WALLS = (*BRICKS, (196, 176, 140), (206, 196, 176), (160, 160, 158), (126, 128, 132), (150, 164, 172), (214, 206, 196))
GREYS = ((38, 40, 44), (88, 90, 94), (128, 130, 132), (168, 170, 172), (214, 214, 212), (236, 236, 232), (110, 60, 50))
PAINTS = (*GREYS, (150, 30, 30), (44, 70, 120), (96, 118, 138), (60, 84, 62), (150, 128, 92), (176, 92, 50))
COATS = (*PAINTS, (190, 160, 50), (70, 110, 150), (120, 60, 100), (58, 100, 70), (200, 90, 90), (90, 76, 62))
PANES = ((52, 60, 70), (74, 88, 102), (118, 136, 152), (40, 42, 48))
BOARDS = ((126, 98, 70), (156, 128, 94), (222, 222, 216), (96, 110, 90))
SKINS, BARKS = ((232, 190, 160), (180, 132, 98), (105, 70, 50)), ((86, 70, 56), (130, 120, 106), (48, 40, 36))
METALS = ((62, 66, 68), (112, 116, 116), (150, 152, 150), (70, 80, 72), (96, 82, 66))


def circle(x: float, y: float, radius: float, corners: int = 12, stretch: float = 1.0) -> Outline:
    """A regular polygon around (x, y). `stretch` is its height over its width."""
    angles = [2 * math.pi * (corner + 0.5) / corners for corner in range(corners)]
    return [(x + radius * math.cos(angle), y + radius * stretch * math.sin(angle)) for angle in angles]


def bar(x0: float, y0: float, x1: float, y1: float, width: float, taper: float = 1.0) -> Outline:
    """A straight bar, `width` wide at its start and `taper` times that at its end."""
    x, y = (width / 2 / math.hypot(x1 - x0, y1 - y0) * side for side in (y0 - y1, x1 - x0))
    return [(x0 + x, y0 + y), (x0 - x, y0 - y), (x1 - taper * x, y1 - taper * y), (x1 + taper * x, y1 + taper * y)]


def box(left: float, right: float, low: float, high: float) -> Outline:
    """A rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]


def facing(x: float, z: float, outline: Outline, scale: float = 1.0) -> list[Point]:
    """An outline that stands at (x, z) and faces the camera. A negative scale mirrors it."""
    return [(x + scale * right, abs(scale) * up, z) for right, up in outline]


def on_wall(wall: Sequence[Point], outline: Outline) -> list[Point]:
    """Maps an outline, in shares of a wall's length and height, onto the wall; its first corner is the lower left."""
    (x0, y0, z0), (x1, _, z1), (x2, y2, z2), (x3, _, z3) = wall
    mix = [((1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t, y0 + t * (y2 - y0)) for s, t in outline]
    return [(a * x0 + b * x1 + c * x2 + d * x3, y, a * z0 + b * z1 + c * z2 + d * z3) for a, b, c, d, y in mix]


def _draw_wall(canvas: Canvas, ends: Outline, height: float, colour: Colour, light: float, details: Callable) -> None:
    """Draws a wall in sections, from back to front, because haze varies. `details` returns a section's parts."""
    (x0, z0), (x1, z1), count = *ends, max(1, round(math.dist(*ends) / 3))
    stops = [(x0 + (x1 - x0) * number / count, z0 + (z1 - z0) * number / count) for number in range(count + 1)]
    for (x0, z0), (x1, z1) in reversed(list(pairwise(stops))):
        section = [(x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)]
        canvas.fill(section, colour, light)
        for outline, paint, shade in details(z0):
            canvas.fill(on_wall(section, outline), paint, shade and shade * light)


def _post(height: float, width: float, colours: Sequence[Colour]) -> list[Part]:
    dark = bar(0.28 * width, 0, 0.21 * width, height, 0.4 * width, 0.75)
    return [(bar(0, -0.02, 0, height, width, 0.75), colours, 1.0), (dark, colours, 0.7)]


def _person(stride: float, hairline: float, hem: float) -> list[Part]:
    parts: list[Part] = []
    for side, light in ((-1, 0.9), (1, 1.1)):
        foot, hand = side * (0.05 + stride), side * (0.16 + 0.3 * stride)
        parts.append((bar(side * 0.05, 0.52, foot, 0.03, 0.11, 0.7), COATS[::-1], light))
        parts.append((bar(foot - 0.04, 0.02, foot + 0.05, 0.02, 0.05), BLACK, light))
        parts.append((bar(side * 0.12, 0.79, hand, 0.45, 0.07), COATS, 0.85 * light))
    torso = [(-0.12, hem), (-0.15, 0.8), (-0.06, 0.85), (0.06, 0.85), (0.15, 0.8), (0.12, hem)]
    hair = [(right, max(up, hairline)) for right, up in circle(0, 0.925, 0.072, 10, 1.2)]
    return [*parts, (torso, COATS, 1.1), (circle(0, 0.915, 0.066, 10, 1.25), SKINS, 1.1), (hair, BARKS, 1.1)]


_STROKE = box(-0.08, 0.08, 2.36, 2.84)
_SIGNS = [
    [(circle(0, 2.6, 0.6), RED, 1.0), (circle(0, 2.6, 0.43), WHITE, 1.0), (_STROKE, BLACK, 1.0)],
    [(circle(0, 2.6, 0.6), BLUE, 1.0), (_STROKE, WHITE, 1.0)],
    [(circle(0, 2.6, 0.6, 8), RED, 1.0), (box(-0.36, 0.36, 2.48, 2.72), WHITE, 1.0)],
    [(bar(-0.3, 2.3, 0.3, 2.9, 0.85), WHITE, 1.0), (bar(-0.19, 2.41, 0.19, 2.79, 0.54), YELLOW, 1.0)],
    [([(-0.6, 2.2), (0.6, 2.2), (0, 3.2)], RED, 1.0), ([(-0.36, 2.34), (0.36, 2.34), (0, 2.94)], WHITE, 1.0)],
]
for _board, _ink in ((BLUE, WHITE), (GREEN, WHITE), (WHITE, BLACK), (YELLOW, BLACK)):
    _text = [(box(-0.85, right, up, up + 0.12), _ink, 1.0) for right, up in ((0.4, 2.8), (0.6, 2.54), (0.1, 2.3))]
    _SIGNS.append([(box(-1, 1, 2.1, 3.1), _board, 1.0), *_text])
_ARM = [(bar(0, 5.95, 1.2, 6.25, 0.21, 0.8), METALS, 1.0), (box(0.85, 1.55, 6.1, 6.4), METALS, 0.8)]
_FIGURES = {  # smallest and greatest size; for each class of the object, the figures to choose from
    "person": (1.5, 1.95, {"person": [_person(0.13, 0.93, 0.4), _person(0.08, 0.9, 0.45), _person(0.02, 0.85, 0.38)]}),
    "sign": (0.85, 1.12, {"pole": [_post(2.6, 0.2, METALS)], "traffic sign": _SIGNS}),
    "lamp post": (0.75, 1.25, {"pole": [[*_post(6.0, 0.3, METALS), *_ARM, (box(0.9, 1.5, 6.1, 6.2), LIT, None)]]}),
    "bollard": (0.85, 1.1, {"pole": [[*_post(1.0, 0.24, METALS + RED), (box(-0.1, 0.1, 0.7, 0.82), WHITE, 1.0)]]}),
}


def figure(kind: str, canvas: Canvas, x: float, z: float) -> None:
    """A flat object that faces the camera. Its right-hand side points to the middle of the road."""
    low, high, regions = _FIGURES[kind]
    scale, picked = math.copysign(canvas.rng.uniform(low, high), -x), {}
    for name, figures in regions.items():
        canvas.begin(name)
        for outline, colours, light in canvas.rng.choice(figures):
            colour = picked[colours] = picked.get(colours) or canvas.pick(colours)
            canvas.fill(facing(x, z, outline, scale), colour, light)


def tree(canvas: Canvas, x: float, z: float) -> None:
    """A tree with a round or a pointed crown: bright leaves over dark ones."""
    rng, uniform, pointed = canvas.rng, canvas.rng.uniform, canvas.rng.random() < 0.2
    height, low, leaf = uniform(4.5, 9), 0.16 if pointed else uniform(0.3, 0.42), canvas.pick(LEAVES)
    half, low = 0.3 * height, low * height
    canvas.begin("tree")
    canvas.fill(facing(x, z, bar(0, -0.05, 0, 0.6 * height, 0.05 * height, 0.6)), canvas.pick(BARKS), 0.85)
    count = round(min(50, max(9, canvas.focal * height / z / 6)))
    for share in ((number + rng.random()) / count for number in range(count)):  # from the crown's bottom to its top
        right = half * (0.8 - 0.8 * share if pointed else math.sqrt(1 - (2 * share - 1) ** 2)) * uniform(-1, 1)
        radius = half * (0.45 - 0.38 * share if pointed else uniform(0.2, 0.4))
        up = low + 0.6 * radius + share * (height - low - 1.4 * radius)
        light = 0.5 + 0.5 * share + 0.22 * canvas.sun[0] * right / half + uniform(-0.15, 0.15)
        canvas.fill(facing(x, z, circle(right, up, radius, 7, uniform(0.65, 0.95))), leaf, max(0.35, light))


def building(canvas: Canvas, x: float, z: float, length: float, storeys: int, *, gabled: bool) -> None:
    """A house with a gable, or a town house, 9 m deep and `length` metres long."""
    rng, side, height = canvas.rng, math.copysign(4.5, x), 3.0 * storeys + 0.8
    near, far = z - length / 2, z + length / 2
    wall, shop, half = canvas.pick(WALLS), not gabled and rng.random() < 0.5, rng.uniform(0.2, 0.31)
    wall, board, trim = canvas.pick(WALLS), canvas.pick(RED + BLUE + GREEN + YELLOW + WHITE), canvas.pick(BOARDS)

    def details(distance: float) -> Iterator[Part]:
        for low in range(0, 3 * storeys if distance < 60 else 0, 3):
            left, right, bottom, top = 0.5 - half, 0.5 + half, (low + 1) / height, (low + 2.4) / height
            if low == 0 and shop:
                yield box(0, 1, 0, 3.3 / height), board, 1.0
                left, right, bottom = 0.1, 0.9, 0.4 / height
            elif distance < 40:
                yield box(left - 0.04, right + 0.04, 0.95 * bottom, 1.02 * top), trim, 1.0
            lit = rng.random() < canvas.lamps
            yield box(left, right, bottom, top), canvas.pick(LIT if lit else PANES), None if lit else 1.0
        yield box(0, 1, 1 - 0.45 / height, 1), trim, 0.85
        yield box(0, 0.16, 0, 2.2 / height), trim, rng.choice((0.55, 0.95))  # a door or a pilaster

    canvas.begin("building")
    front, back, end_light, front_light = x - side, x + side, canvas.light_on(0, -1), canvas.light_on(-side / 4.5, 0)
    if gabled:
        ridge = height + rng.uniform(2.0, 3.2)
        slope = [(front, height, near), (front, height, far), (x, ridge, far), (x, ridge, near)]
        canvas.fill(slope, canvas.pick(BARKS + BRICKS[:2]), front_light)
        canvas.fill([(front, height, near), (x, ridge, near), (back, height, near)], wall, end_light)
    _draw_wall(canvas, [(back, near), (front, near)], height, wall, end_light, details)
    _draw_wall(canvas, [(front, near), (front, far)], height, wall, front_light, details)


_BORDERS = {  # class, colours, lowest and highest; the details of a section: number, width, low, high and brightness
    "boards": ("fence", BOARDS, 1.0, 2.0, (6, 0.06, 0.1, 0.95, 0.5)),
    "railing": ("fence", METALS, 1.0, 1.5, (8, 0.06, 0.1, 0.9, 0.45)),
    "wall": ("fence", WALLS, 1.0, 1.5, (2, 0.48, 0.3, 0.9, 0.85)),
    "hedge": ("tree", LEAVES[:4], 0.8, 1.5, (3, 0.3, 0.6, 1, 1.25)),
}


def border(kind: str, canvas: Canvas, x: float, z: float, length: float = 2.5) -> None:
    """A fence, a garden wall or a hedge along the street."""
    name, colours, low, high, (count, width, bottom, top, shade) = _BORDERS[kind]
    colour, height = canvas.pick(colours), canvas.rng.uniform(low, high)
    light, ends = canvas.light_on(-math.copysign(1, x), 0), [(x, z - length / 2), (x, z + length / 2)]
    parts = [(box(part / count, part / count + width, bottom, top), colour, shade) for part in range(count)]
    canvas.begin(name)
    _draw_wall(canvas, ends, height, colour, light, lambda distance: parts if distance < 30 else ())


_BODIES = (  # length, width and height in metres; shares: height of the belt line, rear and front of cabin and roof
    (4.0, 1.8, 1.5, 0.58, (0.01, 0.76), (0.12, 0.54)),
    (4.6, 1.8, 1.45, 0.6, (0.1, 0.75), (0.28, 0.58)),
    (5.2, 2.0, 2.2, 0.5, (0.0, 0.9), (0.0, 0.76)),
)
_SCREEN, *_PANES = ((box(x, y, 0.1, 0.9), GLASS, 1.0) for x, y in ((0.08, 0.92), (0.06, 0.49), (0.51, 0.94)))
_WHEELS = [(circle(x, 0.05, r, 12, 7), colour, 1.0) for r, colour in ((0.08, BLACK), (0.04, HUB)) for x in (0.2, 0.8)]
_LAMPS, _NUMBER = (box(0.03, 0.19, 0.5, 0.75), box(0.81, 0.97, 0.5, 0.75)), (box(0.36, 0.64, 0.2, 0.4), WHITE, 1.0)
_REAR, _FRONT = ([*((lamp, colour, None) for lamp in _LAMPS), _NUMBER] for colour in (TAILLAMP, HEADLAMP))


def car(canvas: Canvas, x: float, z: float, heading: float | None = None) -> None:
    """A car, turned clockwise by `heading` radians. By default it drives on the right-hand side of the road."""
    (length, width, height, belt, base, roof), paint = canvas.rng.choice(_BODIES), canvas.pick(PAINTS)
    heading = (0 if x > 0 else math.pi) + canvas.rng.uniform(-0.05, 0.05) if heading is None else heading
    sine, cosine, eye = math.sin(heading), math.cos(heading), (canvas.x, canvas.y, 0.0)

    def corners(rear: float, front: float, half: float, up: float) -> list[Point]:
        places = [((share - 0.5) * length, right * width / 2) for share, right in box(rear, front, -half, half)]
        return [(x + a * sine + r * cosine, up * height, z + a * cosine - r * sine) for a, r in places]

    canvas.begin("car")
    for low, high, colour, details in (  # bottom and top of three bodies; details at the rear, left, front and right
        ((0.12, 0.88, 0.9, 0), (0.12, 0.88, 0.9, 0.2), BLACK[0], ((), (), (), ())),
        ((0, 1, 1, 0.2), (0, 1, 1, belt), paint, (_REAR, _WHEELS, _FRONT, _WHEELS)),
        ((*base, 1, belt), (*roof, 0.86, 1), paint, ((_SCREEN,), _PANES, (_SCREEN,), _PANES)),
    ):
        lower, upper = corners(*low), corners(*high)
        faces = [(upper, 1.12, ())]
        for side, (ahead, right) in enumerate(((-1, 0), (0, -1), (1, 0), (0, 1))):
            light = canvas.light_on(ahead * sine + right * cosine, ahead * cosine - right * sine)
            faces.append(([lower[side - 1], lower[side], upper[side], upper[side - 1]], light, details[side]))
        for face, light, parts in sorted(faces, key=lambda face: -sum(math.dist(eye, point) for point in face[0])):
            canvas.fill(face, colour, light)
            for outline, (detail,), shade in parts:
                canvas.fill(on_wall(face, outline), detail, shade and light)
