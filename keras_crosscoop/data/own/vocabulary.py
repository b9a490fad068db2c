"""The words by which names of folders, files and classes tell their contents."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_IMAGES = frozenset(
    """
    image images img imgs im ims jpeg jpegs jpg rgb photo photos picture pictures pic pics raw still stills
    original originals orig input inputs sat satellite frame frames src source sources scan scans slices bilder
    """.split()  # noqa: SIM905 - a table of words
)
_MASKS = frozenset(
    """
    mask masks msk label labels lbl lbls labeled labelled labelmap labelmaps ann anns annot annots annotation
    annotations annotated gt gts groundtruth truth seg segs segm segmentation segmentations semantic semantics
    semseg trimap trimaps target targets matte mattes manual parsing stuffthingmaps trainid trainids labelid
    labelids masken maske
    """.split()  # noqa: SIM905 - a table of words
)
# Drawings for people, objects instead of classes, predictions, and other things than classes.
_ASIDE = frozenset(
    """
    overlay overlays vis viz visual visuals visualization visualizations visualisation visualisations preview
    previews color colors colour colours colored coloured colorized colourised pretty human blend blended drawn
    thumb thumbs thumbnail thumbnails instance instances inst object objects panoptic pred preds predicted
    prediction predictions result results depth disparity dsm ndsm dem edge edges border borders
    boundary boundaries contour contours bbox
    bboxes weight weights fov roi flow normal normals skeleton heatmap heatmaps debug backup old
    """.split()  # noqa: SIM905 - a table of words
)
_IDS = frozenset(
    """
    id ids trainid trainids labelid labelids raw index indexed machine semantic gray grey
    """.split()  # noqa: SIM905 - a table of words
)
_PARTS = (  # of longer words, such as "labelmasks"
    ("mask", _MASKS),
    ("label", _MASKS),
    ("annot", _MASKS),
    ("segment", _MASKS),
    ("groundtruth", _MASKS),
    ("overlay", _ASIDE),
    ("visuali", _ASIDE),
    ("preview", _ASIDE),
    ("instance", _ASIDE),
    ("image", _IMAGES),
    ("photo", _IMAGES),
)
_SPLITS = {
    **dict.fromkeys(("train", "training", "trn", "trainset", "trainval", "train_val", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "ts"), "test"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_WHOLE = re.compile(rf"({'|'.join(_SPLITS)})[-_]?(\d{{2,4}})?", re.IGNORECASE)
_SPLIT_WORD = rf"(?P<split>{'|'.join(sorted(_SPLITS, key=len, reverse=True))})"
_ROLE_WORD = rf"(?:{'|'.join(_IMAGES | _MASKS)})"
_JOINED = [  # such as "trainannot" and "masktrain"
    re.compile(pattern, re.IGNORECASE) for pattern in (f"{_SPLIT_WORD}{_ROLE_WORD}", f"{_ROLE_WORD}{_SPLIT_WORD}")
]


def words(text: str) -> list[str]:
    """Returns the words and numbers in a name, in lower case.

    Example:
        >>> words("JPEGImages"), words("gtFine_labelTrainIds")
        (['jpeg', 'images'], ['gt', 'fine', 'label', 'train', 'ids'])
    """
    return [word.lower() for word in _WORD.findall(text)]


class Role(NamedTuple):
    """The contents that a name suggests.

    Attributes:
        image: It names images.
        mask: It names masks.
        aside: It names drawings, objects, predictions, or other files that are rarely wanted as masks.
        ids: It names masks of ids, as opposed to the same masks in colours.
    """

    image: bool
    mask: bool
    aside: bool
    ids: bool


def role(text: str) -> Role:
    """Returns the contents that a name suggests.

    Example:
        >>> role("x_mask_color")
        Role(image=False, mask=True, aside=True, ids=False)
    """
    names = set(words(text))
    kinds = {kind for name in names for kind in _kinds(name)}
    ids = bool(names & _IDS) or is_train_ids(text)
    return Role(_IMAGES in kinds, _MASKS in kinds, _ASIDE in kinds, ids)


def is_train_ids(text: str) -> bool:
    """Whether a name is that of Cityscapes' ids for training, such as "labelTrainIds"."""
    names = set(words(text))
    return {"train", "ids"} <= names or bool({"trainids", "trainid"} & names)


def _kinds(name: str) -> set[frozenset[str]]:
    kinds = {kind for kind in (_IMAGES, _MASKS, _ASIDE) if name in kind}
    return kinds or {kind for part, kind in _PARTS if part in name}


class SplitName(NamedTuple):
    """A folder's name with a split in it.

    Attributes:
        pattern: The name with `{split}` in place of the split.
        text: The split as the name spells it.
        split: "train", "val" or "test".
        certain: Whether the rest of the name is empty or names images or masks. Other names, such as "test_data", name
            a split only if there is a folder such as "train_data", too.
    """

    pattern: str
    text: str
    split: str
    certain: bool


def split_name(folder: str) -> SplitName | None:
    """Returns the split in the name of a folder, or None.

    Example:
        >>> split_name("valid").split, split_name("imagesTr").pattern, split_name("images")
        ('val', 'images{split}', None)
    """
    if whole := _WHOLE.fullmatch(folder):
        if len(whole[1]) == 2 and folder.islower():  # "tr" and "ts" are too short
            return None
        return SplitName("{split}", folder, _SPLITS[whole[1].lower()], certain=True)
    found = [match for match in _WORD.finditer(folder) if match[0].lower() in _SPLITS]
    found = [match for match in found if len(match[0]) > 2 or match[0] in ("Tr", "Ts")]
    if len(found) == 1:
        start, end = found[0].span()
        others = [word for word in words(folder[:start] + " " + folder[end:]) if not word.isdigit()]
        certain = all(_kinds(word) for word in others)
        return SplitName(f"{folder[:start]}{{split}}{folder[end:]}", found[0][0], _SPLITS[found[0][0].lower()], certain)
    for joined in _JOINED:
        if (match := joined.fullmatch(folder)) and len(match["split"]) > 2:
            start, end = match.span("split")
            pattern = f"{folder[:start]}{{split}}{folder[end:]}"
            return SplitName(pattern, match["split"], _SPLITS[match["split"].lower()], certain=True)
    return None


def split_names(folders: Iterable[str]) -> dict[str, SplitName]:
    """Returns the splits in the names of folders that name one."""
    named = {folder: name for folder in set(folders) if (name := split_name(folder))}
    splits: dict[str, set[str]] = {}
    for name in named.values():
        splits.setdefault(name.pattern, set()).add(name.split)
    return {folder: name for folder, name in named.items() if name.certain or len(splits[name.pattern]) > 1}


def named_split(text: str) -> str | None:
    """Returns the split that a word such as "valid" names, or None."""
    return _SPLITS.get(text.strip().lower())


def is_version(text: str) -> bool:
    """Whether a name numbers or dates a version, or names a person who drew it, instead of a class."""
    people = {"version", "rev", "annotator", "rater", "reader", "expert", "observer", "new", "old", "final", "copy"}
    return all(word.isdigit() or word == "v" or word in people for word in words(text))


BACKGROUND = "background"
OBJECT = "object"

_BACKGROUND_NAMES = {"background", "bg", "backgrounds", "other", "others", "hintergrund"}
_VOID_NAMES = {"ignore", "ignored", "void", "unlabeled", "unlabelled", "unlabel", "dontcare", "ignorelabel", "nodata"}


def is_background(name: str) -> bool:
    """Whether a name means all that is none of the other classes, such as "_background_" or "other"."""
    return _letters(name) in _BACKGROUND_NAMES


def is_void(name: str) -> bool:
    """Whether a name means pixels without a class, such as "__ignore__" or "unlabeled"."""
    return _letters(name) in _VOID_NAMES


def same_name(one: str, other: str) -> bool:
    """Whether two tables mean the same class: names are compared without case and punctuation."""
    return _normal(one) == _normal(other)


def normal_names(names: object) -> set[str]:
    """Returns the names without case and punctuation, and without background and void, which tables may leave out."""
    return {_normal(name) for name in names if not (is_background(name) or is_void(name))}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _normal(name: str) -> str:
    return _letters(name) or name


def negates(one: str, other: str) -> bool:
    """Whether a name means the absence of another class, such as "no_crack" of "crack"."""
    return _letters(one) in {f"{prefix}{_letters(other)}" for prefix in ("no", "non", "not")}


def without_common_affixes(names: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """Returns what all names begin with, the rest of each name, and what all end with, cut between words.

    Example:
        >>> without_common_affixes(["tag-car-0", "tag-tree-0"])
        ('tag-', ('car', 'tree'), '-0')
    """
    if len(names) < 2:
        return "", tuple(names), ""
    words = [re.findall(r"[^-_. ]+|[-_. ]", name) for name in names]
    shortest = min(map(len, words)) - 1  # a word is left of each name
    start = next((place for place in range(shortest) if len({name[place] for name in words}) > 1), shortest)
    shortest -= start
    end = next((place for place in range(shortest) if len({name[-1 - place] for name in words}) > 1), shortest)
    first = words[0]
    rests = tuple("".join(name[start : len(name) - end]) for name in words)
    return "".join(first[:start]), rests, "".join(first[len(first) - end :])
