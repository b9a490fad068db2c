"""`crosscoop-tf evaluate`: the metrics of a run."""

import json
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.options import inference_options
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--dataset", "name", help="Another data set with the same classes. Default: the run's own.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set. Default: the run's own.")
@click.option("--split", help="Split to evaluate on. Default: the run's validation split.")
@click.option(
    "--crop",
    type=click.IntRange(0, 2**14),
    help="Evaluate on a centre crop of this size in pixels; 0: whole images. Default: the run's evaluation.crop, but "
    "whole images with --save-predictions or --label-errors.",
)
@inference_options
@click.option(
    "--boundary-tolerance",
    type=click.IntRange(0, 99_999),
    default=3,
    show_default=True,
    help="Maximum distance in pixels of matching boundary pixels, for the boundary F-score.",
)
@click.option("--intervals", is_flag=True, help="Also compute 95 % confidence intervals, by resampling the images.")
@click.option("--confusion", is_flag=True, help="Also print the confusion matrix.")
@click.option(
    "--label-errors",
    type=click.IntRange(0, 100_000),
    default=0,
    help="Also list up to this many regions that are probably labelled wrongly.",
)
@click.option(
    "--save-predictions",
    type=click.Path(path_type=Path),
    help="Also write the predictions to this folder, in the format of the data set's evaluation server.",
)
@click.option("--force", is_flag=True, help="Overwrite earlier predictions.")
@click.option("--json", "form", flag_value="json", help="Print a single JSON object and nothing else.")
@click.option("--csv", "form", flag_value="csv", help="Print the metrics of each class as CSV and nothing else.")
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
    """Evaluate both networks of a run and their ensemble: IoU of each class, boundary F-score, calibration and more.

    \b
    crosscoop-tf evaluate saved_models/street_scenes-1
    crosscoop-tf evaluate saved_models/camvid-1 --scales 0.75,1,1.25 --flip
    crosscoop-tf evaluate saved_models/cityscapes-1 --window 769 --intervals
    crosscoop-tf evaluate saved_models/cityscapes-1 --split test --save-predictions submission
    crosscoop-tf evaluate saved_models/camvid-1 --label-errors 20
    crosscoop-tf evaluate saved_models/street_scenes-1 --json > metrics.json
    """
    from crosscoop_tf.metrics_tables import print_confusion, print_csv, print_label_errors, print_metrics
    from crosscoop_tf.progress import evaluate_progress

    from keras_crosscoop import evaluation
    from keras_crosscoop.runs import Run

    trained = Run.open(run)
    settings = trained.settings
    data = trained.open_dataset(name, data_dir)
    split = split or settings.data.val_split
    data.check_split(split)
    if crop is None and not save_predictions and not label_errors:
        crop = settings.evaluation.crop
    options["window"] = options["window"] or settings.evaluation.window
    submission = save_predictions and evaluation.SubmissionWriter(save_predictions, data, split, force=force)
    with evaluate_progress(quiet=form is not None) as progress:
        metrics = evaluation.evaluate(
            trained.load(),
            data,
            split,
            center_crop=crop or None,
            on_error="fail" if submission else settings.data.on_error,  # A submission must be complete.
            label_errors=label_errors,
            submission=submission,
            progress=progress,
            **options,
        )
    if form == "json":
        click.echo(json.dumps(metrics))
    elif form == "csv":
        print_csv(metrics)
    elif metrics["outputs"]:
        print_metrics(metrics)
        if confusion:
            print_confusion(metrics)
        if label_errors:
            print_label_errors(metrics)
    if submission and form is None:
        click.echo(f"Predictions: {save_predictions}")
