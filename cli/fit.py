"""`crosscoop-tf fit`: trains, evaluates and writes a report."""

import time
from pathlib import Path
from typing import Any

import click
from crosscoop_tf import recipes
from crosscoop_tf.options import given_options
from crosscoop_tf.settings import data_options, model_options, resolve, training_options
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@data_options
@model_options
@training_options
@click.option("--time", help='Time for everything, such as "30min" or "2h"; the number of steps is fitted into it.')
@click.option(
    "--init-from",
    type=click.Path(),
    help="Start from the weights and model settings of an earlier run, or from a weights file.",
)
@click.option("--seed", type=int, help="Random seed.")
@click.option("--strategy", help="Device strategy: none, mirrored (all GPUs), multiworker (several machines), or auto.")
@click.option(
    "--deterministic/--no-deterministic",
    default=None,
    help="Bit-identical results in every run. Default: on CPUs only.",
)
@click.option("--save-every", help='Checkpoint interval, in steps ("500") or minutes ("10min").')
@click.option("--profile/--no-profile", default=None, help="Record a TensorBoard profile of a few steps.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue an interrupted run.")
@click.option("--output", type=click.Path(path_type=Path), help="Run folder. Default: saved_models/DATASET-N.")
def fit(
    recipe: str | None,
    assignments: tuple[str, ...],
    resume: Path | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Train a cross-cooperative pair, evaluate it on the validation split, and write a report.

    Without options, fit trains a small pair on the built-in data set. This takes minutes and needs no download. With
    --data-dir alone, it finds out how the folder is laid out and what its masks mean, and tells this first. The
    settings come from a recipe; --set overrides the recipe, and other options override --set.

    \b
    crosscoop-tf fit
    crosscoop-tf fit --epochs 3 --output saved_models/quick
    crosscoop-tf fit --dataset cityscapes --data-dir DIR
    crosscoop-tf fit --data-dir MY_DATA
    crosscoop-tf fit --data-dir MY_DATA --time 30min
    crosscoop-tf fit --data-dir MY_DATA --top resnet50 --bottom mobilenet_v2
    crosscoop-tf fit --data-dir MY_DATA --init-from saved_models/cityscapes-1
    crosscoop-tf fit --resume saved_models/cityscapes-1
    crosscoop-tf fit --config my.yaml --set train.learning_rate=0.01 --set model.decoder_channels=128
    """
    import psutil
    from crosscoop_tf.metrics_tables import print_metrics
    from crosscoop_tf.progress import FitProgress, evaluate_progress

    from keras_crosscoop import evaluation, training
    from keras_crosscoop.evaluation.report import write_report
    from keras_crosscoop.evaluation.run_metrics import evaluate_run

    start = time.monotonic() - (time.time() - psutil.Process().create_time())
    if resume:
        context = click.get_current_context()
        if others := given_options(context, ignored=["--resume"]):
            raise click.UsageError(
                "A resumed run keeps its own settings, so --resume takes no other options. "
                f"Received: {', '.join(others)}.",
                context,
            )
    with FitProgress() as progress:
        if resume:
            run = training.resume(resume, [progress])
        else:
            settings = resolve(recipe, assignments, **options)
            output = output or recipes.new_folder(settings.data.name)
            run = training.fit(settings, output, [progress], start=start)
    del progress  # frees the trained network; the best weights are loaded into a new one
    if not run.writes:  # only the first of several machines writes
        return
    trained = time.monotonic()
    model, data = run.load(), run.open_dataset()
    with evaluate_progress() as progress:
        metrics = evaluate_run(run.folder, run.settings, model, data, progress=progress)
    print_metrics(metrics)
    inference = evaluation.Inference(model, window=metrics["window"])
    evaluation.draw_examples(inference, data, metrics["split"], run.folder / "pictures")
    training.timings.record(run, "evaluation", time.monotonic() - trained)
    report = write_report(run, metrics, model, data)
    click.echo(f"Run: {run.folder}   Report: {report}")
