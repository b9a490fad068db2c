"""`crosscoop-tf data prepare`."""

from pathlib import Path

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("prepare", cls=TensorFlowCommand)
@click.argument("name")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The folder that holds it, or will.")
@click.option("--records", type=click.Path(path_type=Path), help="Write it as records into NAME/1.0.0 in this folder.")
@click.option("--split", "splits", multiple=True, help="Write this; may be repeated. All that are there by default.")
@click.option("--beam-options", metavar="OPTIONS", help="Write with Apache Beam, on many machines: its options.")
@click.option("--download", is_flag=True, help="Fetch the files of voc2012 into --data-dir first.")
def prepare(
    name: str,
    data_dir: Path | None,
    records: Path | None,
    splits: tuple[str, ...],
    beam_options: str | None,
    download: bool,
) -> None:
    """Download a data set, or write it as TFDS records: decoded once, so that training reads it faster.

    Every command takes the records' folder for --data-dir, and `tfds.load` reads them without this package. They take 4
    bytes a pixel.

    \b
    crosscoop-tf data prepare voc2012 --data-dir VOC --download
    crosscoop-tf data prepare cityscapes --data-dir DIR --records RECORDS --split train --split val
    crosscoop-tf fit --dataset cityscapes --data-dir RECORDS

    On a cluster, by any runner of Apache Beam, with both folders under the same paths on all machines:

    \b
    pip install "keras-crosscoop[beam]"
    crosscoop-tf data prepare cityscapes --data-dir DIR --records RECORDS \\
        --beam-options "runner=FlinkRunner,flink_master=HOST:8081"
    """
    if not (records or download):
        raise click.UsageError("Say what to prepare: --records DIR to write records, --download to fetch the files.")
    if (splits or beam_options) and not records:
        raise click.UsageError("--split and --beam-options say how to write records: name their folder by --records.")
    if download:
        _download(name, data_dir)
    if records:
        _write(name, data_dir, records, splits, beam_options)


def _download(name: str, data_dir: Path | None) -> None:
    from keras_crosscoop.data import CATALOGUE
    from keras_crosscoop.errors import InputError, unknown_name

    if name not in CATALOGUE:
        raise unknown_name("data set", name, CATALOGUE)
    if name != "voc2012":
        raise InputError(
            f'Only "voc2012" can be downloaded by this command. Where "{name}" comes from: {CATALOGUE[name].source}; '
            f"terms: {CATALOGUE[name].licence}. Received: --download for {name!r}"
        )
    if data_dir is None:
        raise click.UsageError("--download needs --data-dir, the folder to download to.")
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

    from keras_crosscoop.data.download import download_voc2012

    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what)
        bar.update(tasks[what], completed=done, total=total or None)

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        download_voc2012(data_dir, show)
    click.echo(f"Downloaded: {data_dir}")


def _write(name: str, data_dir: Path | None, records: Path, splits: tuple[str, ...], beam_options: str | None) -> None:
    from crosscoop_tf.progress import transient_bar

    from keras_crosscoop.data.records.planning import plan
    from keras_crosscoop.data.records.writing import write

    planned = plan(name, data_dir, records, splits)
    if planned.left_out:
        click.echo(f"Left out, as they are not there: {', '.join(planned.left_out)}", err=True)
    click.echo(f"Records to write: {planned.samples:,} samples, {planned.size / 1e6:,.1f} MB", err=True)
    with transient_bar() as bar:
        task = bar.add_task("Writing", total=None if beam_options else planned.samples)  # Beam's workers tell nothing
        folder = write(planned, beam_options=beam_options, on_sample=lambda: bar.advance(task))
    click.echo(f"Records: {folder}\nTrain from them: crosscoop-tf fit --dataset {name} --data-dir {planned.records}")
