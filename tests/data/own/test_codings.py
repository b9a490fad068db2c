"""Codings that are found without a question: training sees the true ids in each."""

import json

import numpy as np
import pytest
from data.own.codings import COLOURS, discover, ids_of, in_colours, in_palette, in_values, label, write_masks
from helpers import refused
from PIL import Image

from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.discovery import coding, describe, open_own
from keras_crosscoop.data.own.pairs import MaskPerClass

THREE = "background\ndisc\nbox\n"
CSV = "name,r,g,b\nbackground,0,0,0\ndisc,128,64,128\nbox,244,35,232\n"
OTHER_ORDER = "b,g,r,name\n232,35,244,box\n0,0,0,background\n128,64,128,disc\n"
IDS = in_values(0, 1, 2)
VOID = 255


def rgba(ids):
    return np.dstack([in_colours(ids), np.where(ids == 0, 0, 255).astype(np.uint8)])


def smoothed(ids, factor=8):
    """Anti-aliased edges."""
    big = Image.fromarray(in_colours(ids)).resize((ids.shape[1] * factor,) * 2, Image.NEAREST)
    moved = Image.fromarray(np.roll(np.array(big), 1, axis=(0, 1)))
    return moved.resize(ids.shape[::-1], Image.BOX)


def two_colours(low, high):
    return lambda ids: np.array([low, high], np.uint8)[ids]


def one_bit(ids):
    return Image.fromarray(ids > 0)


def grey_alpha(ids):
    return Image.fromarray(np.dstack([np.full_like(ids, 255), np.where(ids > 0, 255, 0).astype(np.uint8)]))


@pytest.mark.parametrize(
    ("encode", "suffix", "tables"),
    [
        (IDS, ".png", {"classes.txt": THREE}),
        (IDS, ".tif", {"classes.txt": THREE}),
        (IDS, ".bmp", {"classes.txt": THREE}),
        (IDS, ".gif", {"classes.txt": THREE}),
        (IDS, ".npy", {"classes.txt": THREE}),
        (in_values(0, 1, 2, dtype=np.uint16), ".png", {"classes.txt": THREE}),
        (in_values(0, 1, 2, dtype=np.float32), ".tif", {"classes.txt": THREE}),
        (IDS, ".png", {"classes.txt": "classes\n" + THREE}),
        (IDS, ".png", {"labels.txt": "__ignore__\n_background_\ndisc\nbox"}),
        (IDS, ".png", {"_classes.csv": "Pixel Value, Class\n0, background\n1, disc\n2, box\n"}),
        (IDS, ".png", {"dataset.json": json.dumps({"labels": {"background": 0, "disc": 1, "box": 2}})}),
        (IDS, ".png", {"dataset.json": json.dumps({"labels": {"0": "background", "1": "disc", "2": "box"}})}),
        (IDS, ".png", {"class_dict.csv": CSV}),
        (IDS, ".png", {"classes.txt": "background, disc, box\n"}),
        (IDS, ".png", {"classes.txt": "['background', 'disc', 'box']\n"}),
        (IDS, ".png", {"classes.txt": "0 background # all else\n1 disc\n2 box # or crate\n"}),
        (in_values(0, 5, 9), ".png", {"labels.txt": "0 background\n5 disc\n9 box\n"}),
        (in_values(0, 100, 200), ".png", {"classes.txt": THREE}),
        (in_values(0, 32768, 65535, dtype=np.uint16), ".png", {"classes.txt": THREE}),
        (in_values(1, 2, 3), ".png", {"classes.txt": THREE}),
        (in_values(0, 90, 113), ".png", {"class_dict.csv": CSV}),
        (in_values(0, 7, 200), ".png", {"class_dict.csv": "name,r,g,b\nbox,200,200,200\nbackground,0,0,0\ndisc,7,7,7"}),
        (in_colours, ".png", {"classes.txt": "background #000000\ndisc #804080\nbox #f423e8\n"}),
        (in_colours, ".png", {"class_dict.csv": CSV}),
        (in_colours, ".png", {"class_dict.csv": OTHER_ORDER}),
        (in_colours, ".bmp", {"labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndisc:128,64,128::\n"
                                              "box:244,35,232::\n"}),
        (in_colours, ".png", {"config.json": json.dumps({"labels": [
            {"name": "x--background", "readable": "background", "color": [0, 0, 0]},
            {"name": "x--disc", "readable": "disc", "color": [128, 64, 128]},
            {"name": "x--box", "readable": "box", "color": [244, 35, 232]}]})}),
        (IDS, ".png", {"classes.json": json.dumps([
            {"id": "0", "name": "background"}, {"id": "2", "name": "box"}, {"id": "1", "name": "disc"}])}),
        (IDS, ".png", {"classes.json": json.dumps({"classes": {
            "background": {"id": 0}, "box": {"id": 2}, "disc": {"id": 1}}})}),
        (in_colours, ".png", {"class_list.json": json.dumps(
            {"#000000": "background", "#804080": "disc", "#f423e8": "box"})}),
        (in_colours, ".png", {"classes.json": json.dumps(
            {"background": "rgb(0, 0, 0)", "disc": "rgb(128, 64, 128)", "box": "rgb(244, 35, 232)"})}),
        (in_colours, ".png", {"class_mapping.csv": "class_name,class_color\nbackground,0 0 0\ndisc,128 64 128\n"
                                                   "box,244 35 232\n"}),
        (in_colours, ".png", {"class_dict.csv": "name,r,g,b\nbackground,0,0,0\ndisc,.50196,0.251,0.502\n"
                                                "box,0.957,0.137,0.91\n"}),
        (in_colours, ".png", {"class_dict.csv": "name,r,g,b\nbackground,0.0,0.0,0.0\ndisc,128.0,64.0,128.0\n"
                                                "box,244.0,35.0,232.0\n"}),
        (lambda ids: in_colours(ids, np.eye(3, dtype=np.uint8)), ".png",
         {"class_dict.csv": "name,r,g,b\nbackground,1,0,0\ndisc,0,1,0\nbox,0,0,1\n"}),
        (IDS, ".png", {"59_labels.txt": "0: background\n1: disc\n2: box\n"}),
        (rgba, ".png", {"class_dict.csv": CSV}),
        (lambda ids: in_colours(ids)[..., ::-1], ".png", {"class_dict.csv": CSV}),
        (in_palette, ".png", {"classes.txt": THREE}),
        (in_palette, ".gif", {"classes.txt": THREE}),
        (in_palette, ".png", {"class_dict.csv": OTHER_ORDER}),
        (lambda ids: in_colours(ids, ((0, 0, 0), (128, 0, 0), (0, 128, 0))), ".png", {"classes.txt": THREE}),
        (lambda ids: Image.fromarray(in_colours(ids)), ".webp", {"class_dict.csv": CSV}),
    ],
)  # fmt: skip
def test_three_classes(tmp_path, encode, suffix, tables):
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    pairs = write_masks(tmp_path, encode, suffix=suffix, **options)
    found = discover(tmp_path, pairs, tables)
    truth = ["background", "disc", "box"]
    for number, (_, path) in enumerate(pairs["train"]):
        names = np.array([*found.names, *["?"] * (256 - len(found.names))])[ids_of(found, path)]
        assert {name.strip("_") for name in found.names} == {*truth}
        np.testing.assert_array_equal(np.char.strip(names, "_"), np.array(truth)[label(number)])
    assert not [finding for finding in found.findings if finding.severity == "problem"]


@pytest.mark.parametrize(
    ("encode", "suffix"),
    [
        (in_values(0, 1), ".png"),
        (in_values(0, 255), ".png"),
        (in_values(0, 128), ".png"),
        (in_values(0, 255), ".jpg"),
        (in_values(0, 255), ".gif"),
        (in_values(0, 255), ".webp"),
        (in_values(0, 65535, dtype=np.uint16), ".png"),
        (in_values(False, True, dtype=bool), ".npy"),
        (one_bit, ".png"),
        (one_bit, ".tif"),
        (grey_alpha, ".png"),
        (two_colours((0, 0, 0), (255, 255, 255)), ".png"),
        (two_colours((0, 0, 0), (255, 255, 255)), ".jpg"),
        (two_colours((0, 0, 0), (255, 0, 0)), ".png"),
        (lambda ids: Image.fromarray(in_values(0, 255)(ids)).resize((40, 40), Image.BILINEAR), ".png"),
    ],
)
@pytest.mark.parametrize("names", [None, "crack", "background\ncrack", "no_crack\ncrack"])
def test_two_values(tmp_path, encode, suffix, names):
    pairs = write_masks(tmp_path, encode, classes=2, suffix=suffix)
    found = discover(tmp_path, pairs, {"classes.txt": names} if names else {})
    expected = ["background", "object"] if names is None else [*names.splitlines()]
    assert list(found.names) == (expected if len(expected) == 2 else ["background", *expected])
    for number, (_, path) in enumerate(pairs["train"]):
        np.testing.assert_array_equal(ids_of(found, path), label(number, 2))
    assert not found.findings


def test_statements_are_plain_sentences(tmp_path):
    pairs = write_masks(tmp_path, in_values(0, 255), classes=2)
    found = discover(tmp_path, pairs, {"classes.txt": "crack"})
    assert found.statements == [
        "The classes are named in classes.txt.",
        "Values 0 and 255 become background (91.8 %) and crack (8.2 %).",
        "The only class in classes.txt is crack; the other value is background.",
    ]


@pytest.mark.parametrize(
    ("values", "tables", "names", "void"),
    [
        ((0, 1, 255), {}, ("background", "object"), {255}),
        ((0, 1, 255), {"classes.txt": "background\ndisc\n"}, ("background", "disc"), {255}),
        ((0, 1, 255), {"classes.txt": "background\ndisc\nvoid\n"}, ("background", "disc"), {255}),
        ((1, 2, 0), {"classes.txt": "disc\nbox\n"}, ("disc", "box"), {0}),  # 0 is a small box here
        ((0, 1, 2), {"classes.txt": "unlabeled\ndisc\nbox\n"}, ("disc", "box"), {0}),
        ((0, 2, 1), {"classes.txt": "background\nignore\nbox\n"}, ("background", "box"), {1}),
    ],
)
def test_void(tmp_path, values, tables, names, void):
    if tables.get("classes.txt", "").startswith("unlabeled"):
        pairs = write_masks(tmp_path, lambda ids: in_values(*values)(np.where(ids > 0, ids, 0)), classes=3)
    else:
        pairs = write_masks(tmp_path, in_values(*values), classes=3)
    found = discover(tmp_path, pairs, tables)
    assert found.names == names
    assert void <= {*found.ignore}
    ids = ids_of(found, pairs["train"][0][1])
    np.testing.assert_array_equal(ids == VOID, np.isin(np.array(values)[label(0)], [*void]))


def test_negative_and_wide_void_values(tmp_path):
    pairs = write_masks(tmp_path, in_values(0, 1, -1, dtype=np.int32), suffix=".npy")
    found = discover(tmp_path, pairs, {"classes.txt": "background\ndisc"})
    assert (found.names, found.ignore) == (("background", "disc"), (-1,))
    pairs = write_masks(tmp_path / "wide", in_values(0, 1, 65535, dtype=np.uint16))
    found = discover(tmp_path / "wide", pairs, {"classes.txt": "background\ndisc"})
    assert (found.names, found.ignore) == (("background", "disc"), (65535,))


def test_palettes_that_differ_are_read_by_colour(tmp_path):
    """ImageMagick, for one, orders the palette of each file anew."""
    orders = iter([(0, 1, 2), (2, 1, 0), (1, 0, 2)] * 3)

    def encode(ids):
        order = next(orders)
        inverse = np.argsort(order).astype(np.uint8)
        return in_palette(inverse[ids], [COLOURS[index] for index in order])

    pairs = write_masks(tmp_path, encode)
    found = discover(tmp_path, pairs, {"class_dict.csv": CSV})
    for number, (_, path) in enumerate(pairs["train"]):
        np.testing.assert_array_equal(ids_of(found, path), label(number))
    assert "The palettes of the masks differ from file to file: the masks are read by colour." in found.statements


def test_anti_aliased_colours_take_the_nearest(tmp_path):
    pairs = write_masks(tmp_path, smoothed)
    found = discover(tmp_path, pairs, {"class_dict.csv": CSV})
    assert found.nearest
    assert any("of the pixels have other colours" in line for line in found.statements)
    for number, (_, path) in enumerate(pairs["train"]):
        np.testing.assert_array_equal(ids_of(found, path), label(number))


def test_colours_without_a_table_are_named_by_their_value(tmp_path):
    pairs = write_masks(tmp_path, in_colours)
    found = discover(tmp_path, pairs)
    assert found.names == ("background", "#804080", "#f423e8")
    assert found.colours == dict(zip(found.names, COLOURS, strict=False))
    np.testing.assert_array_equal(ids_of(found, pairs["val"][0][1]), label(0))


def test_ids_without_a_table_are_named_by_their_value(tmp_path):
    pairs = write_masks(tmp_path, in_values(0, 3, 7))
    found = discover(tmp_path, pairs)
    assert found.names == ("background", "class 3", "class 7")
    np.testing.assert_array_equal(ids_of(found, pairs["val"][0][1]), label(0))


def test_colours_to_draw_with(tmp_path):
    pairs = write_masks(tmp_path, in_palette)
    assert discover(tmp_path, pairs, {"classes.txt": THREE}).colours["box"] == COLOURS[2]
    pairs = write_masks(tmp_path / "ids", IDS)
    assert discover(tmp_path / "ids", pairs, {"class_dict.csv": CSV}).colours["disc"] == COLOURS[1]
    assert not discover(tmp_path / "ids", pairs, {"class_dict.csv": "background\ndisc\nbox"}).colours
    pairs = write_masks(tmp_path / "coloured", in_colours)
    found = discover(tmp_path / "coloured", pairs, {"class_dict.csv": CSV})
    assert list(found.colours.items()) == [(name, tuple(COLOURS[i])) for i, name in enumerate(found.names)]


def with_line(ids, value):
    """A line of one pixel's width, in another class."""
    lined = ids.copy()
    lined[18, 2:38] = value
    return lined


@pytest.mark.parametrize("colours", [COLOURS, ((0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0))])
def test_a_class_of_thin_lines(tmp_path, colours):
    """A mixture of two colours occurs only beside both: the last colour is none, though it lies between two others."""
    pairs = write_masks(tmp_path, lambda ids: in_colours(with_line(ids, 3) if (ids < 2).all() else ids, colours))
    for number, (_, path) in enumerate(pairs["train"][:3]):
        ids = np.where(label(number) == 1, 0, label(number))
        Image.fromarray(in_colours(with_line(ids, 3), colours)).save(path)
    found = discover(tmp_path, pairs)
    assert {*found.values} == {*colours}
    assert not found.nearest
    ids = ids_of(found, pairs["train"][0][1])
    assert found.names[ids[18, 20]] == found.values[colours[3]]


@pytest.mark.parametrize("encode", [IDS, in_palette])
def test_thin_ids_are_classes(tmp_path, encode):
    pairs = write_masks(tmp_path, lambda ids: encode(with_line(np.where(ids == 1, 0, ids), 1)))
    found = discover(tmp_path, pairs)
    assert len(found.names) == 3
    assert ids_of(found, pairs["train"][0][1])[18, 20] == 1


@pytest.mark.parametrize("void", [None, [VOID]])
def test_void_beside_colours_to_draw_with(tmp_path, void):
    """The colours of classes say nothing about the palette's colour of void: masks are read by index."""
    palette = (*COLOURS[:3], *[(0, 0, 0)] * 252, (224, 224, 192))
    pairs = write_masks(tmp_path, lambda ids: in_palette(with_line(ids, VOID), palette))
    described = {"names": ["background", "disc", "box"], "colours": dict(zip(THREE.split(), COLOURS, strict=False))}
    described["colours"] = {name: list(colour) for name, colour in described["colours"].items()}
    found = discover(tmp_path, pairs, **described, **({"ignore": void} if void else {}))
    assert (found.values, found.ignore) == ({0: "background", 1: "disc", 2: "box"}, (VOID,))


def test_grey_values_that_are_ignored_in_masks_of_colours(tmp_path):
    """The description then holds colours only."""
    pairs = write_masks(tmp_path, lambda ids: np.dstack([with_line(ids, VOID)] * 3))
    found = discover(tmp_path, pairs, names=THREE.split(), ignore=[VOID])
    described = found.complete(Description(path=tmp_path, names=THREE.split(), ignore=[VOID]))
    assert described.ignore == ((VOID,) * 3,)
    assert coding(described).ids[(1, 1, 1)] == 1


def test_values_of_a_run_and_ignored_values_of_a_folder_must_fit(tmp_path):
    (tmp_path / "dataset.yaml").write_text("ignore: [255]")
    for pair in write_masks(tmp_path, in_colours).values():
        for _, mask in pair:
            image = tmp_path / "images" / mask.relative_to(tmp_path / "masks")
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (int(mask.stem), 9, 9)).save(image)
    run = Description(names=THREE.split(), values=dict(zip(COLOURS, THREE.split(), strict=False)), ignore=())
    assert "must both hold integers, or both colours" in refused(open_own, tmp_path, run)


@pytest.mark.parametrize(
    "texts",
    [
        {f"{number}_labels.txt": f"{number} cat\n{number + 1} dog\n" for number in range(2)},  # one for each image
        {"1_labels.txt": "0 0.1 0.2 0.3\n1 0.4 0.5 0.6\n"},
        {"1_labels.csv": "id,label\n0,cat\n1,dog\n2,cat\n"},
    ],
)
def test_numbered_files_that_are_no_tables(tmp_path, texts):
    assert discover(tmp_path, write_masks(tmp_path, IDS), texts).names == ("background", "class 1", "class 2")


def test_jpeg_noise_around_the_mask_of_a_class(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[13:37, 21:50] = True
    Image.fromarray(np.uint8(255) * mask).save(tmp_path / "7-disc.jpg", quality=75)
    np.testing.assert_array_equal(MaskPerClass(((1, tmp_path / "7-disc.jpg"),), background=0).pixels(), mask)


def test_more_classes_than_ids(tmp_path):
    pairs = write_masks(tmp_path, IDS)
    names = "background\n" + "\n".join(f"c{number}" for number in range(254))
    assert "at most 254 classes" in refused(discover, tmp_path, pairs, {"classes.txt": names})


def test_a_class_listed_twice(tmp_path):
    pairs = write_masks(tmp_path, IDS)
    tables = {"classes.txt": "background\ndisc #804080\ndisc\nbox"}
    assert "Two classes have the same name" in refused(discover, tmp_path, pairs, tables)


@pytest.mark.parametrize(
    ("mask", "names", "is_told"), [("", ["background", "b"], True), ("", None, False), ("-b", None, False)]
)
def test_names_of_the_description_are_told(tmp_path, mask, names, is_told):
    for number in range(4):
        for path in (f"images/{number}.png", f"masks/{number}{mask}.png"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            Image.fromarray(np.uint8(255) * (label(number) > 0)).save(tmp_path / path)
    statements = describe(Description(path=tmp_path, names=names)).statements
    assert ("The classes are named in dataset.yaml." in statements) == is_told
