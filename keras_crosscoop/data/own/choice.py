"""Chooses the match of images and masks that a folder means, or refuses if two are equally good."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.file_index import spread
from keras_crosscoop.data.own.matching import PLAIN, Match, Side, classes_after, constant
from keras_crosscoop.data.own.path_templates import templates
from keras_crosscoop.data.own.vocabulary import is_version, role
from keras_crosscoop.errors import InputError, join_names
from keras_crosscoop.images.io import open_image

_SAMPLED = 6  # files
_PIXELS = 256  # rows and columns of the samples of a file
MASK_BITS, CLEARLY = 2.5, 1.0


def entropy(files: Iterable[Path]) -> float | None:
    """Returns the mean entropy of the colours in some of the files, in bits; None if no file can be read.

    Masks have a few colours, and photographs many. Colours that differ little are counted as one, because of JPEG.
    """
    values = [value for file in spread(list(files), _SAMPLED) if (value := _entropy(file)) is not None]
    return float(np.mean(values)) if values else None


def are_two_valued(files: Sequence[Path]) -> bool:
    """Whether some of the files hold two values each, as masks of one class do, but for the edges of JPEG files."""
    return all(pixels is not None and _is_two_valued(pixels) for pixels in map(_colours, spread(files, _SAMPLED)))


def are_alternatives(masks: Sequence[Sequence[Path]]) -> bool:
    """Whether the masks of one image mostly agree, as those of two annotators do, instead of showing several classes.

    Args:
        masks: The masks of each image.
    """
    agreements = []
    for files in spread([files for files in masks if len(files) > 1], _SAMPLED):
        areas = [pixels > pixels.min() for pixels in map(_colours, files) if pixels is not None]
        for one, other in combinations(areas, 2):
            if one.shape == other.shape and (one | other).any():
                agreements.append(np.count_nonzero(one & other) / np.count_nonzero(one | other))
    return bool(agreements) and float(np.mean(agreements)) > 0.5


def _is_two_valued(pixels: np.ndarray) -> bool:
    return float(np.mean((pixels == pixels.min()) | (pixels == pixels.max()))) > 0.95


def _entropy(file: Path) -> float | None:
    pixels = _colours(file)
    if pixels is None:
        return None
    reduced = (pixels >> 3) & 0x1F1F1F if pixels.max() > 40 else pixels
    shares = np.unique(reduced, return_counts=True)[1] / reduced.size
    return float(-(shares * np.log2(shares)).sum())


def _colours(file: Path) -> np.ndarray | None:
    """Returns the colours of some pixels as integers; None if the file cannot be read."""
    try:
        if file.suffix.lower() == ".npy":
            pixels = np.load(file, mmap_mode="r", allow_pickle=False)
        else:
            with open_image(file) as image:
                pixels = np.asarray(image)
    except (InputError, OSError, ValueError, EOFError):
        return None
    if pixels.ndim not in (2, 3) or not pixels.size:
        return None
    steps = [max(1, -(-size // _PIXELS)) for size in pixels.shape[:2]]
    pixels = np.asarray(pixels[:: steps[0], :: steps[1]])
    if pixels.ndim == 2:
        if pixels.dtype == np.uint16:
            pixels = pixels if pixels.max() < 256 else pixels >> 8
        return pixels.astype(np.int64)
    channels = np.asarray(pixels[..., :3]).astype(np.int64)
    return channels @ (256 ** np.arange(channels.shape[-1]))


_RIVAL = 0.8  # the share of the best score from which another match is as good
_COVERED = 0.9  # the share of the training images from which masks that other splits lack are as good
_TOLD = 0.2  # the share of its pairs from which another match is told
_CLASS = "{class}"


class Choice(NamedTuple):
    """The match of images and masks.

    Attributes:
        match: The match; if there is a file for each class, that of one class.
        masks: The template of the masks' paths.
        classes: The names of the classes, if there is a file for each of them.
        notes: Other files that could be the masks.
    """

    match: Match
    masks: str
    classes: tuple[str, ...]
    notes: list[Finding]


def choose(matches: Sequence[Match], description: Description) -> Choice:
    """Chooses the best match.

    Args:
        matches: The matches, those with the highest scores first; at least one.
        description: The description, with the folder of the data set.

    Raises:
        InputError: Two matches are equally good, or it is unclear which side are the masks.
    """
    best = _orient(matches[0], matches, description)
    others = [match for match in matches if match is not best and not _is_reverse(match, best)]
    others = [match for match in others if match.score >= _TOLD * best.score]
    others = [match for match in others if not match.pairs.items() <= best.pairs.items()]
    if per_class := _per_class(best, others):
        template, classes = per_class
        return Choice(best, template, classes, [])
    _check_single(best, description.path)
    rivals = [match for match in others if _is_rival(match, best) and _conflict(best, match)]
    if rivals:
        best_bits = entropy(list(best.pairs.values()))
        rivals = [match for match in rivals if not _is_photograph(match, best_bits)]
    if rivals:
        raise _two_readings(best, rivals[0], description)
    _check_content(best, description)
    return Choice(best, templates(best)[1], (), _notes(best, others))


def _orient(best: Match, matches: Sequence[Match], description: Description) -> Match:
    """Returns the match with images and masks in their places, by their content if the names do not tell."""
    if best.decided:
        return best
    reverse = next((match for match in matches if _is_reverse(match, best)), None)
    image_bits, mask_bits = (entropy(list(files)) for files in (best.pairs.keys(), best.pairs.values()))
    if image_bits is not None and mask_bits is not None:
        if mask_bits < MASK_BITS and image_bits > mask_bits + CLEARLY:
            return best
        if image_bits < MASK_BITS and mask_bits > image_bits + CLEARLY and reverse:
            return reverse
    raise InputError(
        "The folder holds pairs of files, but neither their names nor their content tell which are the masks. Write "
        f"one of these into {description.file}: {_yaml(best)}; or {_yaml(reverse) if reverse else '...'}. "
        f"Received: {description.path}"
    )


def _is_reverse(one: Match, other: Match) -> bool:
    return (one.images, one.masks) == (other.masks, other.images)


def _is_rival(match: Match, best: Match) -> bool:
    """Whether another match is as good: by its score, or by its names if it only lacks masks outside training."""
    if match.score >= _RIVAL * best.score:
        return True
    if match.score / match.count < _RIVAL * best.score / best.count:
        return False
    if {*match.pairs.values()} & {*best.pairs, *best.pairs.values()}:
        return False
    in_training = {
        image
        for unit, _ in best.units
        if unit.split and unit.split.split == "train"
        for image in unit.files.values()
        if image in best.pairs
    }
    return 0 < _COVERED * len(in_training) <= len(in_training & match.pairs.keys())


def _conflict(best: Match, other: Match) -> bool:
    """Whether both matches give an image different masks, or a mask different images."""
    different = sum(best.pairs.get(image, mask) != mask for image, mask in other.pairs.items())
    images = {mask: image for image, mask in best.pairs.items()}
    different += sum(images.get(mask, image) != image for image, mask in other.pairs.items())
    return different > 0.1 * len(other.pairs)


def _overlap(best: Match, other: Match) -> bool:
    """Whether two matches have a file in common."""
    files = {*best.pairs, *best.pairs.values()}
    return any(image in files or mask in files for image, mask in other.pairs.items())


def _check_single(best: Match, root: Path) -> None:
    """Checks that the masks of an image are not numbered, as masks of objects are."""
    ending = constant(best.masks.stem)
    if best.masks.stem == PLAIN or any(map(str.isalpha, ending)):
        return
    files = {file for _, masks in best.units for file in masks.files.values()} - best.pairs.keys()
    if len(files) > 1.2 * len(best.pairs):
        names = join_names(sorted(_relative(file, root) for file in files))
        raise InputError(
            f"An image has several numbered masks: there are {len(files):,} for {len(best.pairs):,} images. Merge the "
            f"masks of objects into one mask of classes for each image. Received: {names}"
        )


def _is_photograph(match: Match, best_bits: float | None) -> bool:
    bits = entropy(list(match.pairs.values()))
    return bits is not None and best_bits is not None and best_bits < MASK_BITS < bits - CLEARLY


def _check_content(best: Match, description: Description) -> None:
    """Compares the content of images and masks with their names."""
    images, masks = (entropy(list(files)) for files in (best.pairs.keys(), best.pairs.values()))
    if images is not None and masks is not None and images < MASK_BITS and masks > MASK_BITS + 2 * CLEARLY:
        image, mask = (_relative(file, description.path) for file in next(iter(best.pairs.items())))
        raise InputError(
            "Images and masks seem to be swapped: by their names, the masks hold many colours and the images few. "
            f"Rename them, or write `images` and `masks` into {description.file}. Received: {mask} as the mask of "
            f"{image}"
        )


def _per_class(best: Match, others: Sequence[Match]) -> tuple[str, tuple[str, ...]] | None:
    """Returns the template of masks and the classes, if every class has a file of its own."""
    return _class_folders(best, others) or _class_affixes(best, others)


def _class_affixes(best: Match, others: Sequence[Match]) -> tuple[str, tuple[str, ...]] | None:
    if not best.masks.stem.startswith(PLAIN) or best.masks.stem == PLAIN:
        return None
    named: dict[str, str] = {}
    separators = set()
    images_of_all = {image for match in (best, *others) if match.images == best.images for image in match.pairs}
    files: dict[str, list[Path]] = defaultdict(list)  # of each image
    for images, masks in best.units:
        rests = {
            rest
            for rest, stem in images.affixes.get(best.images.stem, {}).items()
            if images is not masks or images.files[stem] in images_of_all
        }
        stems = [stem for stem, file in masks.files.items() if file not in images_of_all]
        if stems and (classes := classes_after(stems, rests)):
            separators.add(classes[0])
            named |= classes[1]
            for stem, name in classes[1].items():
                files[f"{masks.folder}/{stem.removesuffix(name)}"].append(masks.files[stem])
        elif stems and rests:
            return None
    names = sorted(set(named.values()))
    if len(names) < 2 or len(separators) != 1 or any(map(_is_no_class, names)) or len(names) > max(9, len(named) / 2):
        return None
    if not are_two_valued([file for of_image in files.values() for file in of_image]):
        return None
    if are_alternatives(list(files.values())):
        return None
    ending = constant(best.masks.stem)
    before, _, after = templates(best)[1].rpartition(ending)
    return f"{before}{separators.pop()}{_CLASS}{after}", tuple(names)


def _class_folders(best: Match, others: Sequence[Match]) -> tuple[str, tuple[str, ...]] | None:
    names: dict[int, dict[str, Match]] = {}
    for match in others:
        same = match.images == best.images and match.masks.stem == best.masks.stem
        if not same or len(match.masks.pattern) != len(best.masks.pattern):
            continue
        differing = [
            place
            for place, (one, other) in enumerate(zip(best.masks.pattern, match.masks.pattern, strict=True))
            if one != other
        ]
        if len(differing) == 1:
            names.setdefault(differing[0], {})[match.masks.pattern[differing[0]]] = match
    for place, folders in names.items():
        folders[best.masks.pattern[place]] = best
        if any(map(_is_no_class, folders)) or not all(
            are_two_valued(list(match.pairs.values())) for match in folders.values()
        ):
            continue
        masks = [[match.pairs[image] for match in folders.values() if image in match.pairs] for image in best.pairs]
        if are_alternatives(masks):
            continue
        pattern = (*best.masks.pattern[:place], _CLASS, *best.masks.pattern[place + 1 :])
        renamed = [
            templates_of_folder.replace(f"/{folder}/", f"/{_CLASS}/")
            for folder, match in folders.items()
            for templates_of_folder in [f"/{templates(match)[1]}"]
        ]
        if len(set(renamed)) == 1 and _CLASS in pattern:
            return renamed[0][1:], tuple(sorted(folders))
    return None


def _is_no_class(name: str) -> bool:
    kind = role(name)
    return kind.image or kind.mask or kind.aside or is_version(name)


def _two_readings(best: Match, other: Match, description: Description) -> InputError:
    what = "masks" if best.images == other.images else "images" if best.masks == other.masks else None
    return InputError(
        f"Two readings of the folder are equally good: {len(best.pairs):,} pairs of {_arrow(best)}, and "
        f"{len(other.pairs):,} pairs of {_arrow(other)}. Write one of these lines into {description.file} to say "
        f"which {what or 'files'} are meant: {_yaml(best, what)}; or {_yaml(other, what)}. Received: {description.path}"
    )


def _arrow(match: Match) -> str:
    images, masks = templates(match)
    return f"{images} with {masks}"


def _yaml(match: Match, only: str | None = None) -> str:
    images, masks = templates(match)
    lines = {"images": f'images: "{images}"', "masks": f'masks: "{masks}"'}
    return lines[only] if only else ", ".join(lines.values())


def _notes(best: Match, others: Sequence[Match]) -> list[Finding]:
    """Tells which other files could be the masks."""
    notes: dict[Side, Finding] = {}
    told = {best.masks, best.images}
    for match in others:
        if not _overlap(best, match):
            images, masks = templates(match)
            if role(images).aside or role(masks).aside:
                continue
            message = (
                f"{len(match.pairs):,} further pairs were left out: {images} with {masks}. To use them instead, write "
                f"{_yaml(match)}"
            )
            if not any(set(map(str, match.pairs)) & set(earlier.files) for earlier in notes.values()):
                files = (*map(str, match.pairs), *map(str, match.pairs.values()))
                notes[match.masks] = Finding("warning", "", message, files)
            continue
        if match.images != best.images or match.masks in told or not _conflict(best, match):
            continue
        files = [str(file) for file in match.pairs.values()]
        if any(set(files) <= set(earlier.files) for earlier in notes.values()):
            continue
        _, masks = templates(match)
        kind = role(" ".join([*match.masks.pattern, match.masks.stem]))
        why = "their name suggests drawings, objects or predictions" if kind.aside else "the others fit better"
        notes[match.masks] = Finding(
            "note",
            "",
            f'{len(files):,} files were left out as masks, because {why}. To use them, set masks: "{masks}"',
            tuple(files),
        )
    return list(notes.values())


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
