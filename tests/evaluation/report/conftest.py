"""A page taken apart."""

import base64
import io
from html.parser import HTMLParser
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.evaluation.report import charts


class Element(NamedTuple):
    """An HTML element: its tag, attributes, texts and all elements inside it, in order."""

    tag: str
    attributes: dict
    texts: list
    inside: list

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag, **attributes):
        """The elements inside it with this tag and these attributes; `class_` for one of its classes."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            element
            for element in self.inside
            if element.tag == tag
            and all(value in (element.attributes.get(name) or "").split() for name, value in wanted.items())
        ]

    def section(self, title):
        (section,) = (section for section in self.all("section") if section.all("h2")[0].text == title)
        return section

    def rows(self, tag="td"):
        """The cells of each row of its tables, by the row's head."""
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
        for parent in self.open:
            parent.inside.append(element)
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag, "elements are closed in order"

    def handle_data(self, data):
        for parent in self.open:
            parent.texts.append(data)


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


@pytest.fixture(autouse=True)
def plain_charts(monkeypatch):
    """Charts without a drawing, which would take most of the time; test_charts.py draws."""
    monkeypatch.setattr(charts, "_svg", lambda figure, alt: charts.Chart("data:,", alt))
