"""Folders of files that are mostly empty, and the layout that is found in them."""

import numpy as np
from PIL import Image

from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.file_index import FileIndex
from keras_crosscoop.data.own.layout import find_layout


def write(root, files):
    """Writes files: paths, or a mapping of paths to their text, or to their pixels."""
    for path in files:
        content = files[path] if isinstance(files, dict) else ""
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            (root / path).write_text(content)
        else:
            Image.fromarray(content).save(root / path)
    return root


def layout(root, **description):
    return find_layout(FileIndex(root), Description(path=root, **description))


def pairs_of(root, found):
    """The relative paths of the images and masks in each split."""
    return {
        split: {str(image.relative_to(root)): mask and str(mask.relative_to(root)) for image, mask in pairs}
        for split, pairs in found.pairs.items()
    }


def messages(found, severity):
    return [finding.message for finding in found.findings if finding.severity == severity]


def numbered(image, mask, *, train=4, val=0, test=0, names=("train", "val", "test")):
    """Pairs of numbered images and masks: the splits' names replace "SPLIT"."""
    splits, start = {}, 0
    for split, count, name in zip(("train", "val", "test"), (train, val, test), names, strict=True):
        numbers = range(start, start + count)
        if count:
            splits[split] = {
                image.replace("SPLIT", name).format(number): mask and mask.replace("SPLIT", name).format(number)
                for number in numbers
            }
        start += count
    return splits


def square(value, place=3):
    mask = np.zeros((12, 14), np.uint8)
    mask[place : place + 5, 3:9] = value
    return mask


def noise(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (12, 14, 3), np.uint8)
