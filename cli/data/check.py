"""`crosscoop-tf data check`: all problems of a data set, before training."""

import json
import math
import sys
from pathlib import Path

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.settings import resolve
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("check", cls=TensorFlowCommand)
@click.argument("name", metavar="NAME|FOLDER")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--split", "splits", multiple=True, help="Check this split; may be repeated. Default: all splits.")
@click.option("--chart", type=click.Path(path_type=Path), help="Write a chart of the class frequencies to this PNG.")
@click.option("--force", is_flag=True, help="Overwrite an existing chart.")
@click.option("--weights", is_flag=True, help="Print only median-frequency class weights, as a value for --set.")
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
    """Decode every file of a data set, list all problems, and count the classes.

    The exit code is 1 if there is a problem: an image without a label or a label without an image, an unreadable file,
    an image and a label of different sizes, a label id that is no class, or an image in two splits. --weights computes
    class weights from --split, by default the training split of the recipe; with a problem, it prints no weights.

    \b
    crosscoop-tf data check camvid --data-dir CamVid
    crosscoop-tf data check MY_DATA
    crosscoop-tf data check MY_DATA --split train --split val --chart classes.png
    crosscoop-tf fit --dataset camvid --data-dir CamVid \\
        --set "$(crosscoop-tf data check camvid --data-dir CamVid --weights)"
    """
    import yaml
    from crosscoop_tf.data.tables import print_report
    from crosscoop_tf.progress import transient_bar

    from keras_crosscoop.data import dataset
    from keras_crosscoop.data.catalogue import locate
    from keras_crosscoop.data.checks import check_dataset
    from keras_crosscoop.data.previews import draw_frequencies
    from keras_crosscoop.data.records.reader import find_records
    from keras_crosscoop.system.files import check_new_file

    if weights and (as_json or len(splits) > 1):
        raise click.UsageError(
            "--weights prints the weights of one --split. --json, without --weights, has those of all."
        )
    name, data_dir = locate(name, data_dir)
    if weights and not splits:
        splits = (resolve(None, (), dataset=name).data.train_split,)
    if chart:
        check_new_file(chart, ".png", force=force)
    with transient_bar() as bar:
        task = bar.add_task("Opening the data set", total=None)  # street_scenes is drawn on first use
        data = dataset(name, data_dir)
        records = data_dir and find_records(name, data_dir)

        def progress(done: int, total: int) -> None:
            bar.update(task, description="Checking", completed=done, total=total)

        report = check_dataset(data, splits, progress, records=records)
    if chart:
        draw_frequencies(report, chart)
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    elif weights:
        if not report.problems:
            rounded = {name: float(f"{weight:.4g}") for name, weight in report.class_weights(splits[0]).items()}
            one_line = {"default_flow_style": True, "width": math.inf, "sort_keys": False, "allow_unicode": True}
            click.echo(f"loss.class_weights={yaml.safe_dump(rounded, **one_line)}", nl=False)
        for severity in ("problem", "warning"):
            for line in report.lines(severity):
                click.echo(f"{severity}: {line}", err=True)
    else:
        for statement in data.statements:
            click.echo(statement)
        print_report(report)
    if report.problems:
        sys.exit(FOUND_FAILURES)
