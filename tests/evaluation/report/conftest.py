"""Runs that were never trained, figures that were never measured, and a page taken apart."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_crosscoop import config, dataset
from keras_crosscoop.runs import Run

TINY = {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 8, "weights": None, "dropout": [0, 0, 0]}


@pytest.fixture
def make_run(make_folder, tmp_path):
    """Makes a run without weights, and its data set of classes road, sky and car, or of other names."""

    def make(name="run", *, classes=None, size=(24, 32), images=2, epochs=3, **model):
        root = tmp_path / "mine"
        if not root.exists():
            make_folder({"train": 1, "val": images}, size)
        if classes:
            (root / "classes.txt").write_text("".join(f"{each}\n" for each in classes))
        settings = config.settings(
            {"data": {"name": "folder", "dir": root}, "model": {**TINY, **model}, "train": {"epochs": epochs}}
        )
        data = dataset("folder", root)
        return Run.create(tmp_path / name, settings, data), data

    return make


class Linear:
    """What `Inference` needs of a model, at once there: logits that are linear in the colours, by `seed`."""

    def __init__(self, sides=("top", "bottom"), seed=0):
        self.sides = sides
        self.output_choices = sides if len(sides) == 1 else (*sides, "ensemble")
        self.matrices = np.random.default_rng(seed).normal(0, 0.01, (len(sides), 3, 3)).astype("float32")

    def __call__(self, image, training):
        return {side: tf.tensordot(image, of, 1) for side, of in zip(self.sides, self.matrices, strict=True)}


@pytest.fixture
def linear():
    """Makes a network of three classes."""
    return Linear


@pytest.fixture
def make_figures():
    """Makes what `evaluate` gives, with other `changes`."""

    def make(data, outputs=("top", "bottom", "ensemble"), seed=0, **changes):
        rng = np.random.default_rng(seed)
        count = len(data.classes)

        def number():
            return float(rng.uniform(0.2, 0.9))

        def of_output():
            means = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou", "mean_dice")
            return {
                **{name: number() for name in (*means, "mean_boundary_f", "calibration_error")},
                "per_class": {
                    name: {of: number() for of in ("iou", "accuracy", "dice", "boundary_f")} for name in data.classes
                },
                "confusion": rng.integers(1, 1000, (count, count)).tolist(),
                "calibration": {
                    "pixels": [0, *rng.integers(1, 1000, 14).tolist()],
                    "confidence": [None, *np.linspace(0.1, 0.98, 14).tolist()],
                    "accuracy": [None, *rng.uniform(0, 1, 14).tolist()],
                },
            }

        shares = ("share", "top_right", "bottom_right", "neither_right", "ensemble_right")
        names = [Path(image.name).name for image, _ in data.find("val")]
        return {
            **{"dataset": data.name, "split": "val", "images": len(names), "skipped": [], "crop": None},
            **{"window": None, "overlap": 1 / 3, "scales": [1.0], "flip": False, "boundary_tolerance": 3},
            "seconds_per_image": 0.25,
            "outputs": {name: of_output() for name in outputs},
            "disagreement": {share: number() for share in shares} if len(outputs) > 1 else None,
            "per_image": [
                {
                    "image": name,
                    "mean_iou": {output: number() for output in outputs},
                    "pixel_accuracy": {output: number() for output in outputs},
                }
                for name in names
            ],
            **changes,
        }

    return make


class Element(NamedTuple):
    """Of a page: its tag and attributes, the text inside it, and the elements inside it, in order."""

    tag: str
    attributes: dict
    texts: list
    inside: list

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag, **attributes):
        """Those inside it with this tag and these attributes; `class_` for class, of which it may have others."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            each
            for each in self.inside
            if each.tag == tag
            and all(value in (each.attributes.get(name) or "").split() for name, value in wanted.items())
        ]

    def section(self, title):
        (found,) = (each for each in self.all("section") if each.all("h2")[0].text == title)
        return found

    def rows(self, tag="td"):
        """The cells of each row of the tables in it, by the row's head."""
        return {
            row.all("th")[0].text: [cell.text for cell in row.all(tag)]
            for row in self.all("tr")
            if row.all("th") and row.all("td") and row.all("th")[0].attributes.get("scope") == "row"
        }


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = [Element("page", {}, [], [])]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), [], [])
        for each in self.open:
            each.inside.append(element)
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag, "elements are closed in order"

    def handle_data(self, data):
        for each in self.open:
            each.texts.append(data)


def parse(path):
    """A page's elements; all that were opened are closed."""
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    (page,) = parser.open
    return page


def decoded(uri):
    """The picture in a data URI."""
    head, content = uri.split(";base64,")
    assert head in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.fixture
def page_of():
    """Takes a page apart."""
    return parse


@pytest.fixture
def picture():
    """Decodes a data URI to an array, or as Pillow has it if asked for."""
    return lambda uri, *, raw=False: decoded(uri) if raw else np.asarray(decoded(uri))
