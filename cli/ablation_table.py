"""An ablation as a table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from keras_crosscoop.ablation.results import Line
from keras_crosscoop.ablation.tables import cost_texts, gain_texts, with_spread


def print_ablation(found: Sequence[Line]) -> None:
    """Prints a line for each output of each row: mean IoU over seeds, costs, and how far cross is ahead of it."""
    table = Table(title="mean IoU in %, ± standard deviation over seeds")
    for column in ("row", "output"):
        table.add_column(column, no_wrap=True)
    for column in ("mIoU", "M params", "GFLOPs", "ms", "cross ahead by", "95 % over images"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("cross is")
    for line in found:
        gain = gain_texts(line.gain) if line.gain else ("", "", "")
        table.add_row(line.row.name, line.output, with_spread(line.mean_iou), *cost_texts(line), *gain)
    Console(width=max(130, Console().width)).print(table)
