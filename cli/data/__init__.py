"""`crosscoop-tf data`: list, describe, import, check, show and prepare data sets."""

import click
from crosscoop_tf.data.check import check
from crosscoop_tf.data.describe import describe
from crosscoop_tf.data.import_ import import_
from crosscoop_tf.data.list import list_
from crosscoop_tf.data.prepare import prepare
from crosscoop_tf.data.show import show


@click.group()
def data() -> None:
    """List, describe, import, check, show and prepare data sets.

    \b
    crosscoop-tf data list
    crosscoop-tf data describe MY_DATA
    crosscoop-tf data import EXPORT --output MY_DATA
    crosscoop-tf data check cityscapes --data-dir DIR
    crosscoop-tf data show voc2012 --data-dir DIR --output sheet.png
    crosscoop-tf data prepare cityscapes --data-dir DIR --records RECORDS
    """


for command in (list_, describe, import_, check, show, prepare):
    data.add_command(command)
