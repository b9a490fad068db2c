"""`crosscoop-tf info`: versions and devices for bug reports, and the list of backbones."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand

_PACKAGES = ("keras-crosscoop", "tensorflow", "keras", "keras-cv", "tensorflow-datasets", "numpy", "pillow", "pydantic")


class _Info(TensorFlowCommand):
    """Loads TensorFlow only where the output depends on it."""

    def invoke(self, ctx: click.Context) -> Any:
        return click.Command.invoke(self, ctx) if ctx.params["backbones"] else super().invoke(ctx)


@click.command(cls=_Info)
@click.option(
    "--backbones", is_flag=True, help="List all backbones: parameters, tapped layers, strides, source of weights."
)
@click.option("--json", "as_json", is_flag=True, help="With --backbones: print one JSON list and nothing else.")
def info(backbones: bool, as_json: bool) -> None:
    """Show versions, devices and supported precisions for a bug report, or list the backbones.

    \b
    crosscoop-tf info
    crosscoop-tf info --backbones
    """
    if as_json and not backbones:
        raise click.UsageError("--json needs --backbones.")
    if backbones:
        _print_backbones(as_json)
    else:
        _print_versions()


def _print_backbones(as_json: bool) -> None:
    """Prints two lines per backbone: one for its low-level tap, one for its high-level tap."""
    from rich.console import Console
    from rich.table import Table

    package = Path(find_spec("keras_crosscoop").origin).parent  # not imported, which would take seconds
    backbones = json.loads((package / "models" / "backbones" / "facts.json").read_text(encoding="utf-8"))
    if as_json:
        click.echo(json.dumps(backbones))
        return
    table = Table(title="Backbones and their tapped layers: low feeds the decoder, high feeds ASPP", box=None)
    for column in ("name", "parameters", "weights", "tap", "channels", "stride", "layer"):
        table.add_column(column, justify="right" if column in ("parameters", "channels") else "left", no_wrap=True)
    for backbone in backbones:
        first = backbone["name"], f"{backbone['parameters'] / 1e6:.2f} M", backbone["origin"] or "none"
        for tap, columns in (("low", first), ("high", ("", "", ""))):
            layer, channels, strides = backbone[tap]
            table.add_row(*columns, tap, str(channels), ", ".join(map(str, strides)), layer)
    Console(width=max(130, Console().width)).print(table)  # never wraps names


def _print_versions() -> None:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import keras
    from rich.console import Console
    from rich.table import Table

    from keras_crosscoop.system.devices import devices

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    table = Table(show_header=False, box=None)
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        table.add_row(package, installed(package))
    table.add_row("keras backend", keras.backend.backend())
    for device in devices():
        table.add_row(device.name, f"{device.description}; {', '.join(device.precisions)}")
    Console().print(table)
