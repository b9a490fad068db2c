"""What a street scene consists of: light, point of view and the widths of the street, drawn at random."""

import math
from dataclasses import dataclass, replace

import numpy as np

from keras_crosscoop.data.street_scenes.drawing import OVERSAMPLING, Camera, Light

FAR = 120.0  # metres to where the street ends

_LIGHTS = (  # zenith, horizon, tint, direct, haze, lamps, clouds; the sun's place is drawn for each scene
    Light((78, 132, 200), (190, 212, 230), (1.03, 1.0, 0.95), 0.5, 0.002, 0.0, 0.35, (0, 0)),  # clear
    Light((104, 148, 196), (206, 214, 220), (1.0, 1.0, 0.98), 0.35, 0.003, 0.0, 0.6, (0, 0)),  # fair
    Light((146, 156, 168), (204, 208, 212), (0.9, 0.93, 0.97), 0.06, 0.005, 0.05, 0.8, (0, 0)),  # overcast
    Light((176, 182, 186), (206, 208, 208), (0.9, 0.91, 0.92), 0.03, 0.017, 0.1, 0.5, (0, 0)),  # misty
    Light((98, 110, 156), (238, 180, 128), (1.05, 0.88, 0.72), 0.5, 0.006, 0.15, 0.5, (0, 0)),  # sunset
    Light((54, 66, 108), (166, 134, 146), (0.66, 0.64, 0.78), 0.08, 0.006, 0.45, 0.5, (0, 0)),  # dusk
)


@dataclass(frozen=True)
class Side:
    """One side of the street: metres from the road's middle to where each strip begins."""

    sign: int  # -1 left, 1 right
    kerb: float
    paving: float  # where this is not the kerb, a verge of grass lies between
    yard: float  # where the paving ends
    front: float  # the buildings' fronts; gardens lie between where this is not the yard
    homes: bool  # houses, and not a row of town houses
    built: float  # share of the fronts that are built up
    parking: bool
    junction: tuple[float, float]  # where a side street joins: near and far end, both 0 without one

    def joined(self, near: float, far: float) -> bool:
        """True where the side street lies between these distances."""
        return near < self.junction[1] and far > self.junction[0]


@dataclass(frozen=True)
class Street:
    """Two lanes, one each way, and what lies beside them."""

    lane: float  # metres
    sides: tuple[Side, Side]
    zebra: float  # metres to the zebra crossing, 0 without one


def draw_light(rng: np.random.Generator) -> Light:
    """A time of day, with the sun anywhere but straight ahead."""
    light = _LIGHTS[rng.integers(len(_LIGHTS))]
    azimuth = rng.uniform(0.15, 0.85) * math.pi * rng.choice((-1, 1))
    sun = (math.sin(azimuth), -math.cos(azimuth))
    return replace(
        light, sun=sun, clouds=light.clouds + rng.uniform(-0.25, 0.2), haze=light.haze * rng.uniform(0.6, 1.5)
    )


def draw_camera(rng: np.random.Generator, height: int, width: int) -> Camera:
    """Behind the windscreen of a car in the right-hand lane."""
    return Camera(
        focal=OVERSAMPLING * width * rng.uniform(0.8, 1.05),
        u=OVERSAMPLING * width * rng.uniform(0.4, 0.6),
        v=OVERSAMPLING * height * rng.uniform(0.4, 0.52),
        x=rng.uniform(0.4, 2.2),
        y=rng.uniform(1.4, 2.3),
        bend=rng.uniform(-0.0022, 0.0022),
        hill=rng.uniform(-0.0005, 0.0006),
    )


def draw_plan(rng: np.random.Generator) -> Street:
    """The street's widths, and what stands along it."""
    lane = rng.uniform(2.8, 3.4)
    sides = []
    for sign in (-1, 1):
        homes, parking, verge = rng.random() < 0.55, rng.random() < 0.45, rng.uniform(1.5, 3.0)
        kerb = lane + (2.2 if parking else 0.3)
        paving = kerb + (verge if rng.random() < (0.7 if homes else 0.3) else 0.0)
        yard = paving + rng.uniform(2.6, 4.8)
        front = yard + (rng.uniform(3.0, 7.0) if homes else 0.0)
        near = rng.uniform(13, 40)
        junction = (near, near + rng.uniform(6, 8)) if rng.random() < 0.35 else (0.0, 0.0)
        built = (0.95, 0.9, 0.75, 0.35)[rng.integers(4)]
        sides.append(Side(sign, kerb, paving, yard, front, homes, built, parking, junction))
    zebra = rng.uniform(7, 22) if rng.random() < 0.5 else 0.0
    return Street(lane, (sides[0], sides[1]), zebra)
