"""Your own data set, as it is: see `data.own`."""

from keras_crosscoop.data.own.discovery import open_own
from keras_crosscoop.data.spec import Entry

ENTRY = Entry(
    open_own,
    classes=None,
    splits=dict.fromkeys(("train", "val", "test")),
    layout="images and masks in any usual layout, see docs/own-data.md",
    source="your own images",
    licence="yours",
)
