"""`crosscoop-tf info`: what one pastes into a bug report."""

import click
from crosscoop_tf.quiet import TensorFlowCommand

_PACKAGES = ("keras-crosscoop", "tensorflow", "keras", "keras-cv", "tensorflow-datasets", "numpy", "pillow", "pydantic")


@click.command(cls=TensorFlowCommand)
def info() -> None:
    """Show versions, devices and supported precisions: paste it into a bug report.

    \b
    crosscoop-tf info
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import keras
    from rich.console import Console
    from rich.table import Table

    from keras_crosscoop.devices import devices

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
