"""`crosscoop-tf predict`: the predictions of a run for images and videos."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from crosscoop_tf.exit_codes import FOUND_FAILURES
from crosscoop_tf.options import given_options, inference_options, output_head_option
from crosscoop_tf.tensorflow_command import TensorFlowCommand

if TYPE_CHECKING:
    from keras_crosscoop.evaluation.predictor import Predictor
    from keras_crosscoop.runs import Run


@click.command(cls=TensorFlowCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@output_head_option
@inference_options
@click.option("--probabilities", is_flag=True, help="Also write {stem}.npz: probabilities (H, W, C) and classes (C,).")
@click.option("--no-overlay", is_flag=True, help="Write no overlays.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, 2**16),
    default=1,
    show_default=True,
    help="Maximum batch size. A batch holds successive images of the same size. Larger batches are faster on GPUs.",
)
@click.option(
    "--server",
    metavar="URL",
    help="Run inference on a TensorFlow Serving instance that serves an exported model: http://HOST:8501, "
    "grpc://HOST:8500, or the address of a model or a version, such as http://HOST:8501/v1/models/NAME/versions/1.",
)
@click.option("--force", is_flag=True, help="Overwrite earlier results.")
@click.pass_context
def predict(
    context: click.Context,
    run: Path,
    paths: tuple[Path, ...],
    output: Path,
    output_head: str | None,
    probabilities: bool,
    no_overlay: bool,
    batch_size: int,
    server: str | None,
    force: bool,
    **inference: Any,
) -> None:
    """Segment images and videos. Write a palette PNG of class ids and an overlay with a legend for each image.

    A SOURCE is an image (PNG, JPEG, JPEG 2000, BMP, GIF, TIFF, WebP or PPM; only the first frame of an animation), a
    video, a folder with images at any depth, or a quoted glob. Images of more than 8 bits or three channels are read as
    the run's own. The results have the same subfolders as their sources. For an image they are {stem}.png (class ids)
    and {stem}_overlay.png. For a video they are {stem}.mp4 (overlays) and {stem}/000001.png and so on (class ids of
    each frame). If two results would have the same name, as for x.jpg and x.png, they are named x_jpg.png and
    x_png.png. After an error in one source, the command continues with the others; at the end it lists the errors and
    exits with code 1.

    \b
    crosscoop-tf predict saved_models/street_scenes-1 photo.jpg --output pictures
    crosscoop-tf predict saved_models/street_scenes-1 "holiday/**/*.jpg" --output pictures --force
    crosscoop-tf predict saved_models/camvid-1 large.png --output out --window 513 --scales 0.5,1,1.5 --flip
    crosscoop-tf predict saved_models/camvid-1 drive.mp4 --output out     # pip install "keras-crosscoop[video]"
    crosscoop-tf predict saved_models/camvid-1 photos --output out --server http://localhost:8501
    """
    local_options = ("--window", "--overlap", "--scales", "--flip", "--output-head")
    if server is not None and (given := [name for name in given_options(context) if name in local_options]):
        raise click.UsageError(f"An exported model has fixed settings: omit {', '.join(given)}, or --server.", context)
    from crosscoop_tf.progress import transient_bar

    from keras_crosscoop.errors import summarize
    from keras_crosscoop.evaluation.file_predictor import FilePredictor
    from keras_crosscoop.evaluation.sources import check_targets, find_sources, make_folders
    from keras_crosscoop.runs import Run

    trained = Run.open(run)
    sources = find_sources(paths, output, overlay=not no_overlay, probabilities=probabilities)
    total = sum(source.count_images() for source in sources)
    check_targets(sources, force=force)
    failed: list[str] = []
    try:
        with _predictor(trained, server, output_head, inference, probabilities) as predictor, transient_bar() as bar:
            predict_files = FilePredictor(predictor, trained.classes, trained.palette, batch_size, trained.reading)
            make_folders(sources)
            task = bar.add_task("Segmenting", total=total)
            for error in predict_files(sources):
                if error:
                    failed.append(str(error))
                bar.advance(task)
    finally:  # also after Ctrl-C or on a full disk
        for line in summarize(failed):
            click.echo(f"crosscoop-tf: {line}", err=True)
    click.echo(f"Pictures: {output}")
    if failed:
        click.echo(f"crosscoop-tf: {len(failed)} of {len(sources)} could not be segmented, see above.", err=True)
        sys.exit(FOUND_FAILURES)


def _predictor(
    run: "Run", server: str | None, output_head: str | None, inference: dict[str, Any], probabilities: bool
) -> AbstractContextManager["Predictor"]:
    if server is not None:
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # gRPC's fork handlers warn when ffmpeg starts
        from keras_crosscoop.evaluation.server import connect

        return connect(server, run.folder.resolve().name, len(run.classes), probabilities=probabilities)
    from keras_crosscoop.evaluation.predictor import LocalPredictor
    from keras_crosscoop.models.inference import Inference

    return nullcontext(LocalPredictor(Inference(run.load(), **inference), output_head, probabilities=probabilities))
