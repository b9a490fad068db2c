"""Imports the exports of annotation tools as data sets of images and masks."""

from keras_crosscoop.data.importing.exports import Source
from keras_crosscoop.data.importing.formats import FORMATS, find
from keras_crosscoop.data.importing.writing import ImportReport, import_annotations

__all__ = ["FORMATS", "ImportReport", "Source", "find", "import_annotations"]
