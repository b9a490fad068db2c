"""`crosscoop-tf report`: one run, or several side by side, as an HTML page."""

from pathlib import Path

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--compare", is_flag=True, help="Show several runs side by side.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set. Default: the runs' own.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Path of the page. Default: RUN/report.html, or comparison.html with --compare.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file. The run's own report is always overwritten.")
def report(runs: tuple[Path, ...], compare: bool, data_dir: Path | None, output: Path | None, force: bool) -> None:
    """Write a run's metrics, learning curves and examples as a self-contained HTML page.

    fit also writes this page. If the run has no metrics yet, report evaluates it first.

    \b
    crosscoop-tf report saved_models/street_scenes-1
    crosscoop-tf report saved_models/camvid-1 --data-dir CamVid --output camvid.html
    crosscoop-tf report --compare saved_models/camvid-1 saved_models/camvid-2
    """
    if compare != (len(runs) > 1):
        raise click.UsageError(
            "Name exactly one run without --compare, or two or more runs with --compare. "
            f"Received: {' '.join(map(str, runs))}",
            click.get_current_context(),
        )
    from crosscoop_tf.progress import evaluate_progress

    from keras_crosscoop.evaluation.report import write_comparison, write_report
    from keras_crosscoop.evaluation.run_metrics import METRICS_FILE, read_metrics
    from keras_crosscoop.runs import Run
    from keras_crosscoop.system.files import check_new_file

    trained = [Run.open(run) for run in runs]
    own_report = trained[0].folder / "report.html"
    output = output or (Path("comparison.html") if compare else own_report)
    check_new_file(output, ".html", ".htm", force=force or output == own_report)
    evaluated = []
    for run in trained:
        data = run.open_dataset(data_dir=data_dir)
        with evaluate_progress(quiet=(run.folder / METRICS_FILE).exists()) as progress:
            evaluated.append((run, read_metrics(run, data, progress), data))
    if compare:
        for sentence in write_comparison(evaluated, output):
            click.echo(f"crosscoop-tf: {sentence}.", err=True)
    else:
        run, metrics, data = evaluated[0]
        write_report(run, metrics, run.load(), data, output)
    click.echo(f"Report: {output}")
