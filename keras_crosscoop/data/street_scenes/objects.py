"""What stands and moves in a street scene beside cars: people, trees, poles and traffic signs.

Each function paints one object onto a canvas as a region of its own. Shapes are in metres.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from keras_crosscoop.data.street_scenes.drawing import Canvas, Colour, Point

Outline = Sequence[tuple[float, float]]

# Colours are shared between classes on purpose: grey cars on grey roads, green coats before green hedges.
PAINTS = (
    (38, 40, 44), (88, 90, 94), (128, 130, 132), (168, 170, 172), (214, 214, 212), (236, 236, 232),
    (150, 30, 30), (44, 70, 120), (96, 118, 138), (60, 84, 62), (150, 128, 92), (176, 92, 50), (110, 60, 50),
)  # fmt: skip
CLOTHES = (
    *PAINTS, (190, 160, 50), (70, 110, 150), (120, 60, 100), (58, 100, 70), (200, 90, 90), (90, 76, 62),
)  # fmt: skip
SKINS = ((232, 190, 160), (205, 158, 122), (160, 112, 80), (105, 70, 50))
HAIRS = ((30, 26, 24), (70, 48, 32), (150, 116, 70), (150, 148, 146))
LEAVES = ((66, 96, 44), (84, 112, 52), (50, 80, 50), (108, 118, 56), (150, 112, 46), (146, 78, 44), (120, 100, 62))
BARKS = ((86, 70, 56), (104, 96, 86), (66, 56, 48))
METALS = ((62, 66, 68), (112, 116, 116), (150, 152, 150), (70, 80, 72), (96, 82, 66))
RED, BLUE, GREEN, YELLOW, WHITE, BLACK = (
    (186, 32, 36), (36, 78, 160), (30, 108, 72), (222, 178, 46), (232, 232, 226), (36, 36, 38),
)  # fmt: skip


def circle(x: float, y: float, radius: float, corners: int = 12, stretch: float = 1.0) -> list[tuple[float, float]]:
    """A regular polygon around (x, y); `stretch` is its height over its width."""
    rise = radius * stretch
    return [(x + radius * cosine, y + rise * sine) for cosine, sine in _unit_circle(corners)]


@lru_cache
def _unit_circle(corners: int) -> list[tuple[float, float]]:
    angles = [2 * math.pi * (corner + 0.5) / corners for corner in range(corners)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def upright(x: float, z: float, outline: Outline) -> list[Point]:
    """An outline (right, up) stood up at (x, z), facing the camera."""
    return [(x + right, up, z) for right, up in outline]


def bar(start: tuple[float, float], end: tuple[float, float], width: float, taper: float = 1.0) -> Outline:
    """A straight piece from `start` to `end`, `width` wide at the start and `taper` times that at the end."""
    along, up = end[0] - start[0], end[1] - start[1]
    length = math.hypot(along, up) or 1.0
    across, rise = -up / length * width / 2, along / length * width / 2
    return [
        (start[0] + across, start[1] + rise),
        (start[0] - across, start[1] - rise),
        (end[0] - across * taper, end[1] - rise * taper),
        (end[0] + across * taper, end[1] + rise * taper),
    ]


_TRIANGLE, _DIAMOND = ((-1, -0.7), (1, -0.7), (0, 1)), ((-1, 0), (0, -1), (1, 0), (0, 1))
_PLATES = (  # outlines in radii around the middle, from the plate to what is on it
    ((circle(0, 0, 1), RED), (circle(0, 0, 0.72), WHITE), (bar((0, -0.4), (0, 0.4), 0.25), BLACK)),  # a ban
    ((circle(0, 0, 1), BLUE), (bar((0, -0.4), (0, 0.4), 0.25), WHITE)),  # an order
    ((circle(0, 0, 1, 8), RED), (bar((-0.6, 0), (0.6, 0), 0.4), WHITE)),  # stop
    ((_DIAMOND, WHITE), ([(0.65 * right, 0.65 * up) for right, up in _DIAMOND], YELLOW)),  # priority
    (
        (_TRIANGLE, RED),
        ([(0.6 * right, 0.6 * up - 0.04) for right, up in _TRIANGLE], WHITE),
        (bar((0, -0.35), (0, 0.25), 0.16), BLACK),
    ),  # a warning
)


def person(canvas: Canvas, x: float, z: float) -> None:
    """Somebody on foot, seen from the front, from behind or walking across."""
    tall = canvas.uniform(1.5, 1.95)
    coat, trousers = canvas.vary(canvas.pick(CLOTHES)), canvas.vary(canvas.pick(CLOTHES), 0.15)
    skin, hair = canvas.pick(SKINS), canvas.pick(HAIRS)
    stride, wide = canvas.uniform(0.04, 0.26), canvas.uniform(0.21, 0.29)
    light = 0.8 + 0.5 * canvas.light.direct
    canvas.begin("person", thing=True)

    def part(outline: Outline, colour: Colour, shade: float = 1.0) -> None:
        canvas.fill(upright(x, z, [(right, up * tall) for right, up in outline]), colour, light * shade)

    for side, shade in ((-1, 0.8), (1, 1.0)):
        foot = side * (0.08 + stride)
        part(bar((side * 0.08, 0.52), (foot, 0.03), 0.19, 0.7), trousers, shade)
        part(bar((foot - 0.07, 0.02), (foot + 0.09, 0.02), 0.05), BLACK)
        swing = side * (wide + 0.03 + 0.3 * stride)
        part(bar((side * (wide - 0.04), 0.79), (swing, 0.47), 0.12), coat, 0.85 * shade)
        part(circle(swing, 0.46, 0.05, 6), skin, shade)
    hem = canvas.uniform(0.36, 0.5)
    part([(-wide * 0.8, hem), (-wide, 0.8), (-0.1, 0.85), (0.1, 0.85), (wide, 0.8), (wide * 0.8, hem)], coat)
    part([(-0.01, hem), (0.012, hem), (0.012, 0.82), (-0.01, 0.82)], coat, 0.75)
    part(circle(0, 0.915, 0.115, 10, stretch=0.72), skin)
    covered = canvas.pick((0.93, 0.9, 0.85))  # from the front, from the side, from behind
    part([(right, max(up, covered)) for right, up in circle(0, 0.925, 0.125, 10, stretch=0.68)], hair)
    if canvas.chance(0.3):  # a bag or a backpack
        side = canvas.pick((-1, 1))
        part(circle(side * (wide + 0.02), 0.6, 0.14, 6, stretch=0.6), canvas.vary(canvas.pick(CLOTHES)))


def tree(canvas: Canvas, x: float, z: float, tall: float) -> None:
    """A tree with a round or a pointed crown: bright leaves over dark ones."""
    leaf, bark = canvas.vary(canvas.pick(LEAVES), 0.12), canvas.vary(canvas.pick(BARKS))
    pointed = canvas.chance(0.2)
    crown_low, half = tall * canvas.uniform(0.12, 0.2) if pointed else tall * canvas.uniform(0.3, 0.42), tall * 0.3
    trunk = max(0.16, tall * 0.05)
    canvas.begin("tree")
    canvas.fill(upright(x, z, bar((0, -0.05), (0, tall * 0.6), trunk, 0.6)), bark, 0.85)
    canvas.detail(upright(x, z, bar((trunk * 0.25, 0), (trunk * 0.15, tall * 0.6), trunk * 0.4, 0.6)), bark, 0.65)
    if not pointed:
        for end in (-0.5 * half, 0.5 * half):
            canvas.fill(upright(x, z, bar((0, crown_low * 0.8), (end, tall * 0.6), trunk * 0.5, 0.5)), bark)

    size = canvas.camera.focal * tall / z
    count = round(min(34, max(9, size / 9)))
    sunny = canvas.light.sun[0]
    for index in range(count):
        height = (index + canvas.rng.random()) / count  # from the crown's bottom to its top: light comes last
        if pointed:
            reach, radius = 0.8 * half * (1.02 - height), 0.4 * half * (1.15 - height)
        else:
            reach, radius = half * math.sqrt(max(0.0, 1 - (2 * height - 1) ** 2)), half * canvas.uniform(0.24, 0.42)
        right = reach * canvas.uniform(-1, 1)
        middle = (right, crown_low + radius * 0.6 + height * (tall - crown_low - 1.4 * radius))
        lit = 0.5 + 0.5 * height + 0.22 * sunny * right / half + canvas.uniform(-0.1, 0.1)
        canvas.fill(upright(x, z, circle(*middle, radius, 7, canvas.uniform(0.65, 0.95))), leaf, max(0.35, lit))
        if size > 130:
            for _ in range(2):
                dab = (middle[0] + radius * canvas.uniform(-0.5, 0.5), middle[1] + radius * canvas.uniform(-0.3, 0.4))
                shade = max(0.3, lit + canvas.uniform(-0.2, 0.3))
                canvas.detail(upright(x, z, circle(*dab, radius * 0.24, 5)), leaf, shade)


def lamp_post(canvas: Canvas, x: float, z: float, side: int) -> None:
    """A street lamp whose arm reaches over the road; `side` is the side of the road it stands on."""
    metal, tall, width = canvas.vary(canvas.pick(METALS)), canvas.uniform(4.5, 7.5), canvas.uniform(0.24, 0.36)
    canvas.begin("pole", thing=True)
    _shaft(canvas, x, z, tall, width, metal)
    lamp, up = -side * canvas.uniform(0.8, 1.7), tall + 0.25
    canvas.fill(upright(x, z, bar((0, tall - 0.05), (lamp, up), width * 0.7, 0.8)), metal)
    canvas.fill(upright(x, z, bar((lamp + 0.35, up), (lamp - 0.35, up), width * 1.1)), metal, 0.8)
    if canvas.light.lamps > 0.2:
        glowing = bar((lamp + 0.3, up - 0.08), (lamp - 0.3, up - 0.08), 0.14)
        canvas.detail(upright(x, z, glowing), YELLOW, glow=True)


def bollard(canvas: Canvas, x: float, z: float) -> None:
    """A short thick post at the kerb."""
    metal = canvas.vary(canvas.pick((*METALS, RED, WHITE)))
    canvas.begin("pole", thing=True)
    tall = canvas.uniform(0.85, 1.1)
    _shaft(canvas, x, z, tall, 0.24, metal)
    canvas.detail(upright(x, z, bar((-0.12, tall * 0.75), (0.12, tall * 0.75), 0.12)), WHITE)


def _shaft(canvas: Canvas, x: float, z: float, tall: float, width: float, metal: Colour) -> None:
    """A round post: its side away from the sun is darker."""
    canvas.fill(upright(x, z, bar((0, -0.02), (0, tall), width, 0.75)), metal)
    dark = -0.28 * width if canvas.light.sun[0] > 0 else 0.28 * width
    canvas.detail(upright(x, z, bar((dark, 0), (dark * 0.75, tall), width * 0.4, 0.75)), metal, 0.7)


def sign(canvas: Canvas, x: float, z: float) -> None:
    """A traffic sign on its post: a round, three-, four- or eight-cornered plate, or a board with lines of text."""
    metal, light = canvas.vary(canvas.pick(METALS)), canvas.uniform(0.8, 1.05)
    radius, high = canvas.uniform(0.5, 0.68), canvas.uniform(2.3, 2.9)
    canvas.begin("pole", thing=True)
    _shaft(canvas, x, z, high, 0.2, metal)
    canvas.begin("traffic sign", thing=True)
    if canvas.chance(0.3):
        plate, marks = _board(canvas)
        radius = 1.0
    else:
        plate, *marks = canvas.pick(_PLATES)
    for (outline, colour), paint in zip((plate, *marks), (canvas.fill, *[canvas.detail] * len(marks)), strict=True):
        paint(upright(x, z, [(radius * right, high + radius * up) for right, up in outline]), colour, light)


def _board(canvas: Canvas) -> tuple[tuple[Outline, Colour], list[tuple[Outline, Colour]]]:
    """A board and the lines of text on it, in metres around its middle."""
    half, tall = canvas.uniform(0.75, 1.3), canvas.uniform(0.4, 0.62)
    colour, ink = canvas.pick(((BLUE, WHITE), (GREEN, WHITE), (WHITE, BLACK), (YELLOW, BLACK)))
    lines = [
        (bar((-0.8 * half, up * tall), (canvas.uniform(0.0, 0.7) * half, up * tall), 0.2 * tall), ink)
        for up in (0.45, -0.05, -0.5)
    ]
    return ([(-half, -tall), (half, -tall), (half, tall), (-half, tall)], colour), lines
