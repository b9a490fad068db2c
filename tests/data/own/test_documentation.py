"""docs/own-data.md: its layouts, its files, its commands and its programs work as they stand."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from data.importing import tool_exports
from data.own.pictures import only_car, picture
from PIL import Image

from keras_crosscoop import dataset, load_dataset, training
from keras_crosscoop.data.own.description import Description

PAGE = (Path(__file__).parents[3] / "docs/own-data.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def blocks(language, text=PAGE):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "MY_DATA"


@pytest.fixture
def cracks(folder):
    """Four images, and masks of 0 and 255, in the folders that the page's description names."""
    for number in range(4):
        split = "train" if number < 3 else "val"
        save(picture(number)[0], folder / f"images/{split}/{number}.png")
        save(only_car(number) * 255, folder / f"masks/{split}/{number}.png")
    return folder


def test_the_sentences_of_describe(crosscoop, folder):
    """93.1 % of the pixels are 0, the rest is 255."""
    mask = np.zeros((480, 640), np.uint8)
    mask[100:206, 100:300] = 255
    save(np.kron(picture(0)[0], np.ones((12, 14, 1), np.uint8))[:480, :640], folder / "0.jpg")
    save(mask, folder / "0.png")
    for number in range(150):
        split = "train" if number < 120 else "val"
        for place in (f"images/{split}/{number}.jpg", f"masks/{split}/{number}_mask.png"):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).hardlink_to(folder / f"0{Path(place).suffix}")
    (folder / "0.jpg").unlink()
    (folder / "0.png").unlink()
    (folder / "classes.txt").write_text("background\ncrack\n")

    code, out, err = crosscoop("data", "describe", folder)

    (sentences,) = re.findall(r"^```\n(Images: .*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert code == 0
    assert [line for line in sentences.splitlines() if line not in err.splitlines()] == []
    assert yaml.safe_load(out)["values"] == {0: "background", 255: "crack"}


ROWS = re.findall(r"^\| (.+) \| `(.+)` \| `(.+)` \|$", SECTIONS["Layouts"], re.MULTILINE)


@pytest.mark.parametrize(("image", "masks"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_layout(folder, image, masks):
    """The example of a layout, with a few images in each split."""
    splits = {"": range(6)}
    if "train" in image or "Tr" in image:
        splits = {"train": range(4), "val": range(4, 6)} if "train" in image else {"Tr": range(6)}
    elif "JPEGImages" in image:
        splits = {"": range(6), "lists": {"train": range(4), "val": range(4, 6)}}
    for split, numbers in splits.items():
        if split == "lists":
            for name, listed in numbers.items():
                (folder / f"{name}.txt").write_text("".join(f"x{number}\n" for number in listed))
            continue
        for number in numbers:
            pixels, car = picture(number)[0], only_car(number) * 255
            for path in (image, *masks.split("`, `")):
                place = re.sub(r"\ba(?=[./_-])", f"x{number}", path.replace("train", split))
                save(pixels if path == image else car[:: -1 if "tree" in path else 1], folder / place)
    data = dataset("MY_DATA")
    assert len(data.classes) == (3 if "car" in masks else 2)
    assert {split: len(data.pairs(split)) for split in data.splits} in ({"train": 4, "val": 2}, {"train": 5, "val": 1})


def test_a_table_of_pairs(folder):
    (table,), (description,) = blocks("csv"), blocks("yaml", SECTIONS["Layouts"])
    rows = [line.split(",") for line in table.splitlines()[1:]]
    for number, (image, mask) in enumerate(rows):
        save(picture(number)[0], folder / image)
        save(only_car(number), folder / mask)
    (folder / "pairs.csv").write_text(table)
    (folder / "dataset.yaml").write_text(description)
    data = dataset("MY_DATA")
    pairs = [pair for split in ("train", "val") for pair in data.pairs(split)]
    assert sorted(pairs) == [(folder / image, folder / mask) for image, mask in rows]


def test_the_description(crosscoop, cracks):
    """What the file settles comes back from `data describe`."""
    (text,) = blocks("yaml", SECTIONS["dataset.yaml"])
    for mask in cracks.glob("masks/*/*"):
        save(np.asarray(Image.open(mask)) // 255 * 2, mask)
    Path("my.yaml").write_text(text)
    described = yaml.safe_load(crosscoop("data", "describe", "my.yaml").out)
    assert described == {**described, **yaml.safe_load(text), "path": str(cracks)}


def test_every_entry_is_explained_and_valid():
    text = SECTIONS["dataset.yaml"]
    (block,) = blocks("yaml", text)
    entries = yaml.safe_load(block)
    for line in re.findall(r"`(\w+: [^`]+)`", text):
        entries |= yaml.safe_load(line)
    assert {*entries, "test"} == {*Description.model_fields}
    assert Description.model_validate(entries).channels == (3, 2, 1)


def test_the_commands(crosscoop, cracks, monkeypatch):
    begun = []
    monkeypatch.setattr(training, "fit", lambda settings, *_, **__: begun.append(settings) or sys.exit(9))
    commands = [line for block in blocks("sh") for line in block.splitlines() if "import" not in line]
    for command in commands:
        name, *arguments = command.partition("#")[0].split()
        assert name == "crosscoop-tf"
        assert crosscoop(*arguments).code == (9 if arguments[0] == "fit" else 0), command
    assert [settings.data.dir for settings in begun] == [cracks] * 2


def test_import(crosscoop, folder, tmp_path):
    tool_exports.make_yolo(tmp_path / "EXPORT")
    (command,) = [line for line in blocks("sh")[-1].splitlines() if "import" in line]
    assert crosscoop(*command.split()[1:]).code == 0
    assert dataset("MY_DATA").classes == ("background", "road", "car", "tree")


def test_the_programs(cracks, capsys):
    by_path, by_lists = blocks("python")
    names = {}
    exec(by_path, names)
    assert "('background', 'object')" in capsys.readouterr().out
    np.testing.assert_array_equal(names["label"], only_car(0))
    exec(by_lists, names)
    image, label = next(iter(names["stream"]))
    assert image.shape == (2, 65, 65, 3)
    assert {*np.unique(label)} <= {0, 1, 255}
    whole = [label for _, label in load_dataset(names["data"], "train").as_numpy_iterator()]
    np.testing.assert_array_equal(whole, [only_car(number) for number in range(3)])
