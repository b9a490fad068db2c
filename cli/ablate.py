"""`crosscoop-tf ablate`: trains and measures the networks of the paper's tables."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.settings import data_options, recipe_options, resolve, training_options
from crosscoop_tf.tensorflow_command import TensorFlowCommand

if TYPE_CHECKING:
    from keras_crosscoop.ablation.results import Result


@click.command(cls=TensorFlowCommand)
@data_options
@click.option(
    "--rows",
    metavar="table1|table5|all|ROW,...",
    help="Rows to compare: single_top, single_bottom, one_way_equal, one_way, none, ensemble_singles, "
    "cross_without_c1_c2, cross_without_c1, cross_without_c2, cross_reduced, cross. Default: all.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), help="Number of trainings of each row. Default: 3.")
@recipe_options
@click.option("--top", help="Backbone of the top network.")
@click.option("--bottom", help="Backbone of the bottom network.")
@training_options
@click.option(
    "--jobs",
    type=click.IntRange(1, 1000),
    help="Number of simultaneous trainings, each on its own GPU if there are GPUs. Default: the number of GPUs, or 1.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the runs and tables. Default: saved_models/DATASET-ablation.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def ablate(
    recipe: str | None,
    assignments: tuple[str, ...],
    rows: str | None,
    jobs: int | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train and compare networks with and without cooperation, under the same conditions.

    The rows of the tables are the networks of the paper's tables 1 and 5: single networks, the conventional one-way
    network, two networks without connections, ensembles, the cross cooperative network, and variants of it without
    Connection 1 or 2. With the same seed, all rows see the same crops in the same order. To continue after an
    interruption, repeat the command. If a row fails, the others continue, the tables are written without this row, and
    the exit code is 1.

    \b
    crosscoop-tf ablate --dataset street_scenes --seeds 2
    crosscoop-tf ablate --data-dir MY_DATA --rows single_top,single_bottom,cross
    crosscoop-tf ablate --config voc2012-table1 --data-dir DIR --jobs 8
    """
    from crosscoop_tf.progress import RowsProgress

    from keras_crosscoop import ablation
    from keras_crosscoop.errors import group_by_cause, join_names

    if rows is not None:
        options["rows"] = rows.split(",")
    settings = resolve(recipe, assignments, "ablation", **options)
    output = output or Path("saved_models", f"{settings.data.name}-ablation")
    # Keras reports downloads of weights on stdout, which must hold JSON alone.
    with contextlib.redirect_stdout(sys.stderr), RowsProgress() as progress:
        study, failed = ablation.ablate(settings, output, at_once=jobs, progress=progress)
        results, files, failed = ablation.write_results(study, failed, progress.show)
    if as_json:
        click.echo(json.dumps(ablation.as_json(study, results, failed)))
    else:
        _print(results)
        click.echo(f"Report: {files['html']}   Tables: {files['md']}, {files['csv']}")
    for names, reason in group_by_cause(failed.items()):
        click.echo(f"crosscoop-tf: {join_names(names, '; ')} failed. {reason}", err=True)
    if failed:
        sys.exit(FOUND_FAILURES)


def _print(results: Sequence["Result"]) -> None:
    """Prints one line for each output of each row: mean IoU, costs, and the gain of cross."""
    from rich.console import Console
    from rich.table import Table

    from keras_crosscoop.ablation.tables import cost_texts, gain_texts, mean_and_spread

    table = Table(title="mean IoU in %, ± standard deviation over seeds")
    for column in ("row", "output"):
        table.add_column(column, no_wrap=True)
    for column in ("mIoU", "M params", "GFLOPs", "ms", "gain of cross", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict on cross")
    for result in results:
        gain = gain_texts(result.gain) if result.gain else ("", "", "")
        texts = mean_and_spread(result.mean_iou), *cost_texts(result), *gain
        table.add_row(result.row.name, result.output, *texts)
    Console(width=max(130, Console().width)).print(table)
