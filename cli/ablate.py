"""`crosscoop-tf ablate`: the paper's tables, trained and measured."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.settings import data_options, recipe_options, resolve, training_options
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@data_options
@click.option(
    "--rows",
    metavar="table1|table5|all|ROW,...",
    help="What to compare, all by default: single_top, single_bottom, one_way_equal, one_way, none, ensemble_singles, "
    "cross_without_c1_c2, cross_without_c1, cross_without_c2, cross_reduced, cross.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), help="Trainings of each row; 3 by default.")
@recipe_options
@click.option("--top", help="The first network's backbone.")
@click.option("--bottom", help="The second network's backbone.")
@training_options
@click.option(
    "--jobs",
    type=click.IntRange(1, 1000),
    help="Trainings at a time, each on a GPU of its own; by default as many as there are GPUs, or else one.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="The ablation's folder; saved_models/DATASET-ablation by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def ablate(
    recipe: str | None,
    assignments: tuple[str, ...],
    rows: str | None,
    top_weights: str | None,
    bottom_weights: str | None,
    jobs: int | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train and measure two networks without, with and with parts of cooperation, all alike, and compare them.

    Every row of the paper's tables 1 and 5: the single networks, the conventional network of one way, two networks
    without paths, ensembles, the cross cooperative network, and that without Connections 1 and 2. With one seed all see
    the same crops in the same order. What was done is kept: the same command goes on where it stopped. A row that fails
    is named, the others go on, and the tables are written of all that are done; it exits with 1 then.

    \b
    crosscoop-tf ablate --dataset street_scenes --seeds 2
    crosscoop-tf ablate --dataset folder --data-dir MY_DATA --rows single_top,single_bottom,cross
    crosscoop-tf ablate --config voc2012-table1 --data-dir DIR --jobs 8
    """
    from crosscoop_tf.ablation_table import print_ablation
    from crosscoop_tf.progress import RowsProgress

    from keras_crosscoop import ablation
    from keras_crosscoop.errors import group_by_cause, join_names

    if rows is not None:
        options["rows"] = rows.split(",")
    settings = resolve(recipe, assignments, "ablation", **options).with_weights(top=top_weights, bottom=bottom_weights)
    output = output or Path("saved_models", f"{settings.data.name}-ablation")
    # Where weights are fetched, Keras tells of it on stdout, which may be read as JSON.
    with contextlib.redirect_stdout(sys.stderr), RowsProgress() as progress:
        done, failed = ablation.ablate(settings, output, at_once=jobs, watch=progress)
        results, files, failed = ablation.write_results(done, failed, progress.show)
    if as_json:
        click.echo(json.dumps(ablation.as_json(done, results, failed)))
    else:
        print_ablation(results)
        click.echo(f"Report: {files['html']}   Tables: {files['md']}, {files['csv']}")
    for names, reason in group_by_cause(failed.items()):
        click.echo(f"crosscoop-tf: {join_names(names, '; ')} failed. {reason}", err=True)
    if failed:
        sys.exit(FOUND_FAILURES)
