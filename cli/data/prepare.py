"""`crosscoop-tf data prepare`: download a data set, or write it as records."""

from pathlib import Path

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("prepare", cls=TensorFlowCommand)
@click.argument("name")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set; --download writes to it.")
@click.option("--records", type=click.Path(path_type=Path), help="Write records to NAME/1.0.0 in this folder.")
@click.option(
    "--split", "splits", multiple=True, help="Write this split; may be repeated. Default: all that have files."
)
@click.option("--beam-options", metavar="OPTIONS", help="Options of Apache Beam, to write records on many machines.")
@click.option("--download", is_flag=True, help="Download voc2012 or tfds:NAME to --data-dir first.")
def prepare(
    name: str,
    data_dir: Path | None,
    records: Path | None,
    splits: tuple[str, ...],
    beam_options: str | None,
    download: bool,
) -> None:
    """Download a data set, or convert it to TFDS records, which are faster to read.

    Records hold decoded pixels and take 4 bytes per pixel. Every command accepts the folder of the records as
    --data-dir. `tfds.load` reads records without this package.

    \b
    crosscoop-tf data prepare voc2012 --data-dir VOC --download
    crosscoop-tf data prepare tfds:oxford_iiit_pet --download
    crosscoop-tf data prepare cityscapes --data-dir DIR --records RECORDS --split train --split val
    crosscoop-tf fit --dataset cityscapes --data-dir RECORDS

    To write records on a cluster, use any runner of Apache Beam. All machines must see both folders under the same
    paths:

    \b
    pip install "keras-crosscoop[beam]"
    crosscoop-tf data prepare cityscapes --data-dir DIR --records RECORDS \\
        --beam-options "runner=FlinkRunner,flink_master=HOST:8081"
    """
    if not (records or download):
        raise click.UsageError("Nothing to prepare. Use --records DIR to write records, --download to fetch the files.")
    if (splits or beam_options) and not records:
        raise click.UsageError("--split and --beam-options need --records, the folder to write records to.")
    if download:
        _download(name, data_dir)
    if records:
        _write(name, data_dir, records, splits, beam_options)


def _download(name: str, data_dir: Path | None) -> None:
    from keras_crosscoop.data import CATALOGUE, tfds_source
    from keras_crosscoop.errors import InputError, unknown_name

    if name.startswith(tfds_source.PREFIX):
        click.echo(f"Downloaded: {tfds_source.download(name, data_dir)}")
        return
    if name not in CATALOGUE:
        raise unknown_name("data set", name, CATALOGUE)
    if name != "voc2012":
        raise InputError(
            f'This command can only download "voc2012". The source of "{name}" is: {CATALOGUE[name].source}; '
            f"terms: {CATALOGUE[name].licence}. Received: --download for {name!r}"
        )
    if data_dir is None:
        raise click.UsageError("--download needs --data-dir, the folder to download to.")
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

    from keras_crosscoop.data.download import download_voc2012

    tasks: dict[str, TaskID] = {}

    def progress(work: str, done: int, total: int) -> None:
        if work not in tasks:
            tasks[work] = bar.add_task(work)
        bar.update(tasks[work], completed=done, total=total or None)

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        download_voc2012(data_dir, progress)
    click.echo(f"Downloaded: {data_dir}")


def _write(name: str, data_dir: Path | None, records: Path, splits: tuple[str, ...], beam_options: str | None) -> None:
    from crosscoop_tf.progress import transient_bar

    from keras_crosscoop.data.prepare import plan, write

    planned = plan(name, data_dir, records, splits)
    if planned.missing:
        click.echo(f"Splits without files, which are left out: {', '.join(planned.missing)}", err=True)
    click.echo(f"Records to write: {planned.samples:,} samples, {planned.size / 1e6:,.1f} MB", err=True)
    with transient_bar() as bar:
        task = bar.add_task("Writing", total=None if beam_options else planned.samples)  # Beam gives no progress
        folder = write(planned, beam_options=beam_options, on_sample=lambda: bar.advance(task))
    click.echo(f"Records: {folder}\nTrain from them: crosscoop-tf fit --dataset {name} --data-dir {records.absolute()}")
