"""Draws validation images from training images, and keeps equal and near-equal images in one split."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import open_image
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

_SIZE = 32  # rows and columns of a thumbnail
_COARSE = 8  # rows and columns of the signs that are compared first
_EQUAL = (6, 8.0)  # the largest distances of near-equal images: signs of 64, and mean grey values of 255
_FRAMES = (14, 14.0)  # the largest distances of successive frames of a video
_FLAT = 2.0  # the standard deviation below which images are too plain to compare
_NEIGHBOURS = 8  # images with equal signs that are compared with each image
_MOST_BYTES = 1 << 30  # of images to decode; of more, a sample is decoded
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def split_by_groups(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Splits pairs into training and validation pairs.

    Equal images, near-equal images, and successive frames of a video stay together. If a single video fills the data
    set, its last frames become the validation split.

    Args:
        pairs: The images and masks, in any order.
        share: The share of validation images, in (0, 1).
        seed: The seed of the draw. The result depends on it and on the names and contents of the images only.

    Returns:
        The training pairs and the validation pairs, both in the order of the images' paths. Neither is empty.

    Raises:
        InputError: There are fewer than two images.

    Example:
        >>> train, val = split_by_groups(pairs, share=0.2, seed=0)
    """
    if len(pairs) < 2:
        raise InputError(f"A validation split needs at least two images. Add images. Received: {len(pairs)}")
    pairs = sorted(pairs, key=lambda pair: _natural(str(pair[0])))
    names = _relative_names([str(image) for image, _ in pairs])
    groups = _groups([image for image, _ in pairs], names)
    wanted = min(max(1, round(share * len(pairs))), len(pairs) - 1)

    def draw(group: Sequence[int]) -> bytes:
        first = min(names[place] for place in group)
        return hashlib.blake2b(f"{seed} {first}".encode("utf-8", "surrogateescape")).digest()

    val: set[int] = set()
    for group in sorted(groups, key=draw):
        if len(val) + len(group) <= max(wanted, 1):
            val.update(group)
    if len(val) < wanted / 2:  # the rest are large groups
        smallest = min(
            (group for group in groups if not val.issuperset(group)), key=lambda group: (len(group), draw(group))
        )
        if len(val) + len(smallest) <= min(2 * wanted, len(pairs) - 1):
            val.update(smallest)
        else:
            largest = max(groups, key=lambda group: (len(group), draw(group)))
            val.update(largest[len(largest) - (wanted - len(val)) :])
    return (
        [pair for place, pair in enumerate(pairs) if place not in val],
        [pair for place, pair in enumerate(pairs) if place in val],
    )


def _natural(text: str) -> tuple:
    """Returns a key that sorts numbers by value: frame 2 comes before frame 10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text))


def _relative_names(paths: Sequence[str]) -> list[str]:
    common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - text, not files
    return [Path(path[len(common) :]).as_posix() for path in paths]


def _groups(images: Sequence[ReadableFile], names: Sequence[str]) -> list[list[int]]:
    """Returns the places of the images that belong together, each group in order."""
    parents = list(range(len(images)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        parents[high] = low

    sizes = [_file_size(image) for image in images]
    for one, other in _copies(images, sizes):
        join(one, other)
    total = sum(sizes)
    step = max(1, -(-total // _MOST_BYTES))
    sequences = [_LAST_NUMBER.sub("#", name) for name in names]
    chosen = [place for place in range(len(images)) if step == 1 or place // 2 % step == 0]
    with ThreadPoolExecutor(threads()) as pool:
        thumbnails = dict(zip(chosen, pool.map(lambda place: _thumbnail(images[place]), chosen), strict=True))
    thumbnails = {place: thumbnail for place, thumbnail in thumbnails.items() if thumbnail is not None}
    if len(thumbnails) > 1:
        places = np.array(sorted(thumbnails))
        table = np.stack([thumbnails[place] for place in places])
        signs = _signs(table)
        for one, other in _near_equal(table, signs):
            join(int(places[one]), int(places[other]))
        follows = [
            (index, index + 1)
            for index in range(len(places) - 1)
            if places[index + 1] == places[index] + 1 and sequences[places[index]] == sequences[places[index + 1]]
        ]
        frames = [pair for pair in follows if _are_near(table, signs, *pair, _FRAMES)]
        for one, other in frames:
            join(int(places[one]), int(places[other]))
        if step > 1 and len(frames) > len(follows) / 2:  # a video, of which a sample was compared
            for place in range(len(images) - 1):
                if sequences[place] == sequences[place + 1]:
                    join(place, place + 1)
    groups: dict[int, list[int]] = defaultdict(list)
    for place in range(len(images)):
        groups[root(place)].append(place)
    return list(groups.values())


def _file_size(image: ReadableFile) -> int:
    try:
        return image.stat().st_size if isinstance(image, Path) else 0
    except OSError:
        return 0


def _copies(images: Sequence[ReadableFile], sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields pairs of equal files."""
    for places in _by(range(len(images)), lambda place: sizes[place]):
        if sizes[places[0]] and len(places) > 1:
            yield from (
                (equal[0], place)
                for equal in _by(places, lambda place: hashlib.blake2b(images[place].read_bytes()).digest())
                for place in equal[1:]
            )


def _by(places: Sequence[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place in places:
        groups[key(place)].append(place)
    return list(groups.values())


def _thumbnail(image: ReadableFile) -> np.ndarray | None:
    """Returns a small grey image, float32 `(32, 32)` in [0, 255]; None for plain and for unreadable images."""
    try:
        with open_image(image) as opened:
            opened.draft("L", (_SIZE, _SIZE))
            if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                values = np.asarray(opened, np.float32)
                low, high = np.percentile(values, (1, 99))
                scaled = np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255)
                opened = Image.fromarray(scaled.astype(np.uint8))
            small = opened.convert("L").resize((_SIZE, _SIZE), Image.Resampling.BOX)
    except InputError:
        return None
    thumbnail = np.asarray(small, np.float32)
    return thumbnail if thumbnail.std() >= _FLAT else None


def _signs(table: np.ndarray) -> np.ndarray:
    """Returns whether the brightness rises from column to column, of coarse images: bool `(N, 64)`."""
    cells = _SIZE // _COARSE
    coarse = table.reshape(-1, _COARSE, cells, _COARSE, cells).mean(axis=(2, 4))
    return np.concatenate([coarse[:, :, 1:] > coarse[:, :, :-1], coarse[:, :, :1] > coarse[:, :, -1:]], 2).reshape(
        -1, _COARSE**2
    )


def _near_equal(table: np.ndarray, signs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields pairs of near-equal images. Such pairs share at least one eighth of their signs."""
    bands = np.packbits(signs, axis=1)
    for band in bands.T:
        order = np.argsort(band.astype(np.int64) << 32 | _order_within(bands), kind="stable")
        for distance in range(1, _NEIGHBOURS + 1):
            one, other = order[:-distance], order[distance:]
            same = band[one] == band[other]
            one, other = one[same], other[same]
            near = (signs[one] != signs[other]).sum(1) <= _EQUAL[0]
            for left, right in zip(one[near].tolist(), other[near].tolist(), strict=True):
                if _are_near(table, signs, left, right, _EQUAL):
                    yield left, right


def _order_within(bands: np.ndarray) -> np.ndarray:
    """Returns a number by which near-equal images come close to each other, integer `(N,)` below 2**32."""
    return np.ascontiguousarray(bands[:, :4]).view(">u4")[:, 0].astype(np.int64)


def _are_near(table: np.ndarray, signs: np.ndarray, one: int, other: int, limits: tuple[int, float]) -> bool:
    return bool(
        (signs[one] != signs[other]).sum() <= limits[0] and np.abs(table[one] - table[other]).mean() <= limits[1]
    )
