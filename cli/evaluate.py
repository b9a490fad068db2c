"""`crosscoop-tf evaluate`: figures of a run."""

import json
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.options import inference_options
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dataset", "name", help="Another data set of the same classes; the run's own by default.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The folder that holds it; the run's own by default.")
@click.option("--split", help="What to measure on; the run's validation split by default.")
@click.option(
    "--crop",
    type=click.IntRange(0, 2**14),
    help="Evaluate on a centre crop of this size; 0 for whole images. By default as the run, but --save-predictions "
    "and --label-errors look at all of them.",
)
@inference_options
@click.option(
    "--boundary-tolerance",
    type=click.IntRange(0, 99_999),
    default=3,
    show_default=True,
    help="Pixels that an outline may be off, for the boundary F-score.",
)
@click.option("--intervals", is_flag=True, help="Also 95 % intervals, by resampling the images.")
@click.option("--confusion", is_flag=True, help="Also print what each class is taken for.")
@click.option(
    "--label-errors",
    type=click.IntRange(0, 100_000),
    default=0,
    help="List so many regions whose labels are probably wrong.",
)
@click.option(
    "--save-predictions",
    type=click.Path(path_type=Path),
    help="Write predictions there as benchmark servers want them.",
)
@click.option("--force", is_flag=True, help="Write over earlier predictions.")
@click.option("--json", "form", flag_value="json", help="Print one JSON object and nothing else.")
@click.option("--csv", "form", flag_value="csv", help="Print the figures of each class as CSV and nothing else.")
def evaluate(
    run: Path,
    name: str | None,
    data_dir: Path | None,
    split: str | None,
    crop: int | None,
    confusion: bool,
    label_errors: int,
    save_predictions: Path | None,
    force: bool,
    form: str | None,
    **options: Any,
) -> None:
    """Measure a run, for each output and their ensemble: IoU of each class, outlines, calibration, who is right.

    \b
    crosscoop-tf evaluate saved_models/street_scenes-1
    crosscoop-tf evaluate saved_models/camvid-1 --scales 0.75,1,1.25 --flip
    crosscoop-tf evaluate saved_models/cityscapes-1 --window 769 --intervals
    crosscoop-tf evaluate saved_models/cityscapes-1 --split test --save-predictions submission
    crosscoop-tf evaluate saved_models/camvid-1 --label-errors 20
    crosscoop-tf evaluate saved_models/street_scenes-1 --json > figures.json
    """
    from crosscoop_tf.figures import print_confusion, print_csv, print_evaluation, print_label_errors
    from crosscoop_tf.progress import EvaluateProgress

    from keras_crosscoop import evaluation
    from keras_crosscoop.data import dataset
    from keras_crosscoop.runs import Run

    opened = Run.open(run)
    own = opened.settings.data
    data = dataset(name or own.name, data_dir or (own.dir if name in (None, own.name) else None))
    opened.check_classes(data)
    split = split or own.val_split
    data.check_split(split)
    own_crop = None if save_predictions or label_errors else opened.settings.evaluation.crop
    options["window"] = options["window"] or opened.settings.evaluation.window
    predictions = save_predictions and evaluation.Predictions(save_predictions, data, split, force=force)
    with EvaluateProgress(quiet=form is not None) as progress:
        figures = evaluation.evaluate(
            opened.load(),
            data,
            split,
            center_crop=own_crop if crop is None else crop or None,
            on_error="fail" if save_predictions else own.on_error,  # a server wants all of them
            list_suspects=label_errors,
            predictions=predictions,
            watch=progress,
            **options,
        )
    if form == "json":
        click.echo(json.dumps(figures))
    elif form == "csv":
        print_csv(figures)
    elif figures["outputs"]:
        print_evaluation(figures)
        if confusion:
            print_confusion(figures)
        if label_errors:
            print_label_errors(figures)
    if predictions is not None and form is None:
        click.echo(f"Predictions: {save_predictions}")
