"""Codings that two readings explain, and codings that none explains."""

import re

import numpy as np
import pytest
import yaml
from data.own.codings import discover, ids_of, in_colours, in_values, label, write_masks
from helpers import refused
from PIL import Image

from keras_crosscoop.images.palettes import voc_palette

IDS = in_values(0, 1, 2)
CSV = "name,r,g,b\nbackground,0,0,0\ndisc,128,64,128\nbox,244,35,232\n"


def inverted(ids):
    return in_values(255, 0)(ids)


@pytest.mark.parametrize(
    ("encode", "classes", "names", "lines"),
    [
        (IDS, 3, "disc\nbox\nlast", ["names: [disc, box, last]", "ignore: [0]",
                                     "names: [background, disc, box, last]"]),
        (IDS, 3, "disc\nbox", ["ignore: [0]", "values: {0: background, 1: disc, 2: box}"]),
        (in_values(1, 2), 2, "a\nb\nc", ["names: [a, b, c]", "ignore: [0]"]),
        (in_values(0, 1, 255), 3, "background\nb\nc", ["values: {0: background, 1: b, 255: c}", "ignore: [255]"]),
        (in_values(0, 128, 255), 3, "", ["values: {0: background, 255: object}", "values: {0: background, 128: object}",
                                         "values: {0: background, 128: middle, 255: object}"]),
        (in_values(0, 85, 170, 255), 4, "", ["values: {0: class 0, 85: class 85, 170: class 170, 255: class 255}",
                                             "values: {0: class 0, 85: class 85, 170: class 170}"]),
        (lambda ids: in_colours(ids, ((0, 0, 0), (128, 0, 0), (0, 128, 0))), 3, "disc\nbox\nlast", [
            "values: {'#000000': disc, '#800000': box, '#008000': last}",
            "values: {'#000000': background, '#800000': disc, '#008000': box, '#808000': last}"]),
        (inverted, 2, "", ["values: {0: background, 255: object}", "values: {0: object, 255: background}"]),
        (inverted, 2, "crack", ["values: {0: background, 255: crack}", "values: {0: crack, 255: background}"]),
        (inverted, 2, "background\ncrack", ["values: {0: background, 255: crack}",
                                            "values: {0: crack, 255: background}"]),
        (in_values(0, 255), 2, "crack\nbackground", ["values: {0: crack, 255: background}",
                                                     "values: {0: background, 255: crack}"]),
        (in_values(0, 255), 2, "cat\ndog", ["values: {0: cat, 255: dog}", "values: {0: dog, 255: cat}"]),
        (in_values(0, 1), 2, "cat\ndog", ["values: {0: cat, 1: dog}", "ignore: [0]"]),
        (in_values(1, 255), 2, "crack", ["values: {1: background, 255: crack}", "ignore: [255]"]),
        (in_colours, 3, "disc #804080\nbox #f423e8", ["ignore: ['#000000']", "values: {'#000000': background, "
                                                      "'#804080': disc, '#f423e8': box}"]),
    ],
)  # fmt: skip
def test_questions_and_the_lines_that_settle_them(tmp_path, encode, classes, names, lines):
    pairs = write_masks(tmp_path, encode, classes=classes)
    tables = {"classes.txt": names} if names else {}
    message = refused(discover, tmp_path, pairs, tables)
    assert "can be read in" in message
    for line in lines:
        assert f"`{line}`" in message
        described = yaml.safe_load(line)
        if line.startswith("values") and "128" in str(pairs) + names + line and 255 not in described["values"]:
            described["ignore"] = [255]
        found = discover(tmp_path, pairs, tables, **described)
        assert found.values


def test_a_table_with_two_columns_of_ids(tmp_path):
    pairs = write_masks(tmp_path, IDS)
    table = "name,id,train_id\nbackground,0,2\ndisc,1,0\nbox,2,1\n"
    (warning,) = discover(tmp_path, pairs, {"classes.csv": table}).findings
    assert "has a column of ids for training, too" in warning.message


@pytest.mark.parametrize("suffix", [".tif", ".gif"])
def test_masks_of_several_pages(tmp_path, suffix):
    pairs = write_masks(tmp_path, IDS, suffix=suffix)
    assert discover(tmp_path, pairs).values
    pages = {"save_all": True, "append_images": [Image.fromarray(label(0) + 1)]}
    pairs = write_masks(tmp_path, IDS, suffix=suffix, **pages)
    assert "A label must be a single picture, but the file holds 2 pages." in refused(discover, tmp_path, pairs)


def test_values_that_are_ignored_in_masks_of_colours(tmp_path):
    pairs = write_masks(tmp_path, in_colours)
    message = refused(discover, tmp_path, pairs, {"class_dict.csv": CSV}, ignore=[255])
    assert "`ignore` of dataset.yaml lists values, but the masks are read by colour." in message


def test_thin_lines_between_two_colours_or_values(tmp_path):
    """A class of lines, or the edges of another one: both explain a single mixture beside the colours that it mixes."""

    def lined(ids):
        ids = np.where(ids == 1, 3, 0)
        ids[18, 2:38] = 1
        return ids

    pairs = write_masks(
        tmp_path / "colours", lambda ids: in_colours(lined(ids), ((0, 0, 0), (64, 0, 0), (0, 0, 0), (128, 0, 0)))
    )
    message = refused(discover, tmp_path / "colours", pairs)
    assert message.startswith("Colours that occur only at edges, #400000 (2.2 %), can be read in 2 ways: ")
    assert re.search(r"`values: {'#000000': background, '#800000': [^,]+}` and `nearest: true`", message)
    assert "`values: {'#000000': background, '#400000': '#400000', '#800000': '#800000'}`" in message
    pairs = write_masks(tmp_path / "values", lambda ids: in_values(0, 100, 0, 200)(lined(ids)))
    message = refused(discover, tmp_path / "values", pairs)
    for line in ("`ignore: [100]`", "`nearest: true`", "`values: {0: background, 100: middle, 200: object}`"):
        assert line in message


def test_an_answer_decides(tmp_path):
    pairs = write_masks(tmp_path, IDS)
    tables = {"classes.txt": "disc\nbox\nlast"}
    found = discover(tmp_path, pairs, tables, ignore=[0])
    assert found.values == {1: "disc", 2: "box", 3: "last"}
    assert ids_of(found, pairs["train"][0][1])[0, 0] == 255
    found = discover(tmp_path, pairs, tables, names=["disc", "box", "last"])
    assert found.values == {0: "disc", 1: "box", 2: "last"}
    (warning,) = found.findings
    assert "Value 0 is read as disc, the first of `names`; but 0 looks like a background" in warning.message
    assert "as in `values: {0: disc, 1: box, ...}`" in warning.message
    assert not discover(tmp_path, pairs, tables, names=["disc", "box", "last"], values=found.values).findings


@pytest.mark.parametrize(
    ("encode", "options", "tables", "message"),
    [
        (in_values(0, 255, 0), {}, {"classes.txt": "a\nb\nc"}, "two values, 0 and 255, but classes.txt names 3"),
        (in_values(0, 5, 9), {}, {"classes.txt": "background\nb"}, "names 2 classes (background, b)"),
        (IDS, {"suffix": ".jpg"}, {}, "their ids are closer than 20"),
        (in_colours, {}, {"classes.txt": "background\ndisc\nbox"}, "names 3 classes without colours"),
        (in_colours, {}, {"class_dict.csv": "name,r,g,b\nbackground,0,0,0\nroad,9,9,9"}, "colours that class_dict.csv "
                                                                                         "does not list: #f423e8"),
        (lambda ids: np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), {}, {}, "too many for classes"),
        (lambda ids: np.linspace(0, 255, 1600).reshape(40, 40).astype(np.uint8), {}, {}, "no reading explains them"),
    ],
)  # fmt: skip
def test_no_reading(tmp_path, encode, options, tables, message):
    pairs = write_masks(tmp_path, encode, **options)
    text = refused(discover, tmp_path, pairs, tables)
    assert message in text


NUMBERED = "0 background\n1 disc\n2 box"


def in_grey_colours(*values):
    return lambda ids: np.repeat(in_values(*values)(ids)[..., None], 3, -1)


@pytest.mark.parametrize(
    ("encode", "names", "line"),
    [
        (in_values(1, 2, 3), NUMBERED, "values: {1: background, 2: disc, 3: box}"),
        (in_grey_colours(1, 2, 3), NUMBERED, "values: {1: background, 2: disc, 3: box}"),
        (in_values(1, 2, 4), "background\ndisc\nbox\nlast", "values: {1: background, 2: disc, 3: box, 4: last}"),
        (lambda ids: in_colours(ids, voc_palette(4)[1:]), "background\ndisc\nbox", "values: {'#800000': background, "
                                                                                 "'#008000': disc, '#808000': box}"),
    ],
)  # fmt: skip
def test_numbers_that_are_shifted_by_one(tmp_path, encode, names, line):
    """The message says so, and its line of YAML settles it."""
    pairs = write_masks(tmp_path, encode)
    tables = {"classes.txt": names}
    message = refused(discover, tmp_path, pairs, tables)
    assert "look shifted by one. If they are, write this into dataset.yaml: " in message
    assert f"`{line}`" in message
    found = discover(tmp_path, pairs, tables, **yaml.safe_load(line))
    last = found.names.index("last" if "last" in names else "box")
    for numbers, (_, mask) in enumerate(pairs["train"]):
        np.testing.assert_array_equal(ids_of(found, mask), np.array([0, 1, last], np.uint8)[label(numbers)])


def test_what_the_description_settles_needs_no_table(tmp_path):
    """Not even one that cannot be read, or two that contradict each other."""
    pairs = write_masks(tmp_path, IDS)
    regions = '{"labels": {"background": 0, "whole": [1, 2], "box": 2}}'
    names, values = ["background", "disc", "box"], {0: "background", 1: "disc", 2: "box"}
    tables = {"dataset.json": regions, "classes.txt": "a\nb", "labels.txt": "c\nd"}
    assert "Classes that overlap" in refused(discover, tmp_path, pairs, tables)
    for described in ({"names": names}, {"values": values}):
        found = discover(tmp_path, pairs, tables, **described)
        assert dict(found.values) == values
        assert not found.findings


def test_masks_of_two_codings(tmp_path):
    encoders = iter([in_values(0, 1), in_values(0, 255)] * 5)
    pairs = write_masks(tmp_path, lambda ids: next(encoders)(ids), classes=2)
    message = refused(discover, tmp_path, pairs)
    assert message.startswith("Value 255 (5 masks with 1, 4 with 255, none with both) can be read in 2 ways: ")
    found = discover(tmp_path, pairs, values={0: "background", 1: "object", 255: "object"})
    np.testing.assert_array_equal(ids_of(found, pairs["train"][1][1]), label(1, 2))
    mixed = iter([in_colours, IDS] * 5)
    pairs = write_masks(tmp_path / "mixed", lambda ids: next(mixed)(ids))
    assert "4 masks hold grey values and 5 colours" in refused(
        discover, tmp_path / "mixed", pairs, {"class_dict.csv": CSV}
    )


def test_one_mask_of_another_coding(tmp_path):
    pairs = write_masks(tmp_path, in_values(0, 255), classes=2)
    change(tmp_path / "masks" / "train", lambda mask: mask // 255, [0])
    assert "(1 mask with 1, 8 with 255, none with both)" in refused(discover, tmp_path, pairs)


def test_integers_do_not_describe_masks_of_colours(tmp_path):
    pairs = write_masks(tmp_path, in_colours)
    message = refused(discover, tmp_path, pairs, values={0: "background", 128: "disc"}, nearest=True)
    assert "`values` of dataset.yaml lists integers, but masks hold colours." in message


def test_small_areas_of_a_colour_outside_the_table(tmp_path):
    """They are no anti-aliased edges."""
    pairs = write_masks(tmp_path, in_colours)

    def spotted(mask):
        mask[33:39, 33:39] = (0, 0, 255)
        return mask

    change(tmp_path / "masks" / "val", spotted, [1])
    found = discover(tmp_path, pairs, {"class_dict.csv": CSV})
    (problem,) = [finding for finding in found.findings if finding.severity == "problem"]
    assert "colours that class_dict.csv does not list: #0000ff (0.2 %)" in problem.message
    assert problem.files == (str(pairs["val"][1][1]),)
    assert not discover(tmp_path, pairs, {"class_dict.csv": CSV}, ignore=["#0000ff"]).findings


def test_numbered_objects_are_no_classes(tmp_path):
    numbers = iter(range(1, 10))

    def encode(ids):
        mask = np.zeros_like(ids)
        for number in range(1, next(numbers) + 1):
            mask[number * 4 - 2 : number * 4, 5:20] = number
        return mask

    message = refused(discover, tmp_path, write_masks(tmp_path, encode))
    assert "numbered from 1 in each mask" in message
    assert "`values: {0: background, 1: object}` and `nearest: true`" in message


def test_tables_that_disagree(tmp_path):
    pairs = write_masks(tmp_path, in_colours)
    found = discover(tmp_path, pairs, {"class_dict.csv": CSV, "classes.txt": "background\ndisc\n"})
    (problem,) = [finding for finding in found.findings if finding.severity == "problem"]
    assert "class_dict.csv names 3 and classes.txt 2 classes; only class_dict.csv has 'box'" in problem.message
    found = discover(tmp_path, pairs, {"classes.txt": "disc\nbox\n"})  # tables may leave out the background
    assert not found.findings


@pytest.mark.parametrize("value", [0, 1, 255])
def test_one_value(tmp_path, value):
    pairs = write_masks(tmp_path, lambda ids: np.full_like(ids, value))
    found = discover(tmp_path, pairs, {"classes.txt": "background\ndisc\nbox"})
    problems = [finding.message for finding in found.findings if finding.severity == "problem"]
    assert len(problems) == 1
    assert ("No pixel is labelled" if value == 255 else f"have the value {value}") in problems[0]


def change(folder, function, numbers):
    for number in numbers:
        path = folder / f"{number}.png"
        Image.fromarray(function(np.array(Image.open(path)))).save(path)


@pytest.mark.parametrize(
    ("fault", "split", "numbers", "message"),
    [
        (lambda mask: mask * 0, "train", range(4), "4 of 6 masks of split train hold only background"),
        (lambda mask: np.where(mask == 2, 3, mask).astype(np.uint8), "val", range(3), "Split val holds 3, which train"),
        (lambda mask: np.where(mask == 1, 9, mask).astype(np.uint8), "train", [0], "9 (0."),
    ],
)
def test_faults_in_some_files(tmp_path, fault, split, numbers, message):
    def encode(ids):
        ids[ids == 1] *= (np.indices(ids.shape).sum(0) < 12)[ids == 1]  # class 1 is much smaller than class 2
        return ids

    pairs = write_masks(tmp_path, encode)
    tables = {"classes.txt": "background\ndisc\nbox\nlast" if "3" in message else "background\ndisc\nbox"}
    change(tmp_path / "masks" / split, fault, numbers)
    found = discover(tmp_path, pairs, tables)
    assert any(message in finding.message for finding in found.findings), found.findings


def test_some_masks_inverted(tmp_path):
    pairs = write_masks(tmp_path, in_values(0, 1), classes=2)
    change(tmp_path / "masks" / "train", lambda mask: 1 - mask, range(3))
    found = discover(tmp_path, pairs, {"classes.txt": "background\ncrack"})
    assert any("Are some of them inverted?" in finding.message for finding in found.findings)
    change(tmp_path / "masks" / "train", lambda mask: 1 - mask, range(3, 6))
    change(tmp_path / "masks" / "val", lambda mask: 1 - mask, range(3))
    assert "can be read in 2 ways" in refused(discover, tmp_path, pairs, {"classes.txt": "background\ncrack"})


def test_values_of_the_description_are_complete(tmp_path):
    pairs = write_masks(tmp_path, IDS)
    found = discover(tmp_path, pairs, values={0: "background", 1: "disc"})
    (problem,) = found.findings
    assert "values that dataset.yaml does not list: 2 (" in problem.message
    found = discover(tmp_path, pairs, values={0: "background", 1: "disc"}, ignore=[2])
    assert not found.findings
