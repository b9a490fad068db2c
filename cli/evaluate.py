"""`crosscoop-tf evaluate`: figures of a run."""

import json
from pathlib import Path

import click
from crosscoop_tf.quiet import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dataset", "name", help="Another data set of the same classes; the run's own by default.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The folder that holds it; the run's own by default.")
@click.option("--split", help="What to measure on; the run's validation split by default.")
@click.option(
    "--crop",
    type=click.IntRange(min=0),
    help="Measure on the middle so many pixels; 0 for whole images. By default as the run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def evaluate(
    run: Path, name: str | None, data_dir: Path | None, split: str | None, crop: int | None, as_json: bool
) -> None:
    """Measure a run: IoU of each class, for each output and their ensemble.

    \b
    crosscoop-tf evaluate saved_models/street_scenes-1
    crosscoop-tf evaluate saved_models/camvid-1 --data-dir CamVid --split test
    crosscoop-tf evaluate saved_models/street_scenes-1 --json > figures.json
    """
    from crosscoop_tf.progress import EvaluateProgress
    from crosscoop_tf.tables import print_evaluation

    from keras_crosscoop import evaluation
    from keras_crosscoop.data import dataset
    from keras_crosscoop.runs import Run

    opened = Run.open(run)
    own = opened.settings.data
    data = dataset(name or own.name, data_dir or (own.dir if name in (None, own.name) else None))
    opened.check_classes(data)
    figures = evaluation.evaluate(
        opened.load(),
        data,
        split or own.val_split,
        center_crop=opened.settings.evaluation.crop if crop is None else crop or None,
        on_error=own.on_error,
        callbacks=[] if as_json else [EvaluateProgress()],
    )
    if as_json:
        click.echo(json.dumps(figures))
    else:
        print_evaluation(figures)
