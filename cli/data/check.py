"""`crosscoop-tf data check`: what would end a night of training, found before it begins."""

import json
import math
import sys
from pathlib import Path

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.settings import resolve
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("check", cls=TensorFlowCommand)
@click.argument("name")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The folder that holds it.")
@click.option("--split", "splits", multiple=True, help="Check only this; may be repeated. Otherwise all of them.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw how often each class occurs into this PNG.")
@click.option("--force", is_flag=True, help="Write over a chart that is there already.")
@click.option("--weights", is_flag=True, help="Print only class weights, by median frequency, for --set.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def check(
    name: str,
    data_dir: Path | None,
    splits: tuple[str, ...],
    chart: Path | None,
    force: bool,
    weights: bool,
    as_json: bool,
) -> None:
    """Decode every file of a data set, list whatever is wrong with any, and count the classes.

    Exits with 1 if there is a problem: a file without its partner or that cannot be read, sizes that differ, ids that
    are no class, one picture in two splits. Weights are of the split that the recipe trains on, or of the one that is
    named; there are none while there is a problem.

    \b
    crosscoop-tf data check camvid --data-dir CamVid
    crosscoop-tf data check folder --data-dir MY_DATA --split train --split val --chart classes.png
    crosscoop-tf fit --dataset camvid --data-dir CamVid \\
        --set "$(crosscoop-tf data check camvid --data-dir CamVid --weights)"
    """
    import yaml
    from crosscoop_tf.data.tables import print_report
    from crosscoop_tf.progress import transient_bar

    from keras_crosscoop.data import dataset
    from keras_crosscoop.data.checking import check
    from keras_crosscoop.data.previews import draw_frequencies
    from keras_crosscoop.data.records.reading import find_records
    from keras_crosscoop.images.overlays import check_new

    if weights and (as_json or len(splits) > 1):
        raise click.UsageError("--weights prints those of one split, and JSON has them anyway: give it one --split.")
    if weights and not splits:
        splits = (resolve(None, (), dataset=name).data.train_split,)
    if chart:
        check_new(chart, force=force)
    with transient_bar() as bar:
        opening = bar.add_task("Opening the data set", total=None)  # street_scenes is drawn the first time
        data = dataset(name, data_dir)
        records = data_dir and find_records(name, data_dir)
        bar.remove_task(opening)
        task = bar.add_task("Checking")
        report = check(data, splits, lambda done, total: bar.update(task, completed=done, total=total), records=records)
    if chart:
        draw_frequencies(report, chart)
    if as_json:
        click.echo(json.dumps(report.figures()))
    elif weights:
        if not report.problems:
            rounded = {name: float(f"{weight:.4g}") for name, weight in report.class_weights(splits[0]).items()}
            in_one_line = {"default_flow_style": True, "width": math.inf, "sort_keys": False, "allow_unicode": True}
            click.echo(f"loss.class_weights={yaml.safe_dump(rounded, **in_one_line)}", nl=False)
        for severity in ("problem", "warning"):
            for line in report.lines(severity):
                click.echo(f"{severity}: {line}", err=True)
    else:
        print_report(report)
    if report.problems:
        sys.exit(FOUND_FAILURES)
