"""An ablation as a table."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_crosscoop.ablation.results import Line


def print_ablation(found: Sequence[Line]) -> None:
    """Prints a line for each output of each row: mean IoU over seeds, costs, and how far cross is ahead of it."""
    table = Table(title="mean IoU in %, ± standard deviation over seeds")
    for column in ("row", "output"):
        table.add_column(column, no_wrap=True)
    for column in ("mIoU", "M params", "GFLOPs", "ms", "cross ahead by", "95 % over images"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("more than both")
    for line in found:
        ious = 100 * np.array(line.mean_iou)
        spread = f" ± {ious.std(ddof=1):.1f}" if len(ious) > 1 else ""
        costs = gain = ("", "", "")
        if (cost := line.cost) is not None:
            costs = f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.2f}", f"{1000 * cost.seconds:.1f}"
        if line.gain is not None:
            low, high = line.gain.interval
            sure = "yes" if line.gain.exceeds else "no"
            gain = f"{100 * line.gain.mean:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}", sure
        table.add_row(line.row.name, line.output, f"{ious.mean():.1f}{spread}", *costs, *gain)
    Console(width=max(130, Console().width)).print(table)
