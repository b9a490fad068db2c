"""Tables of data sets."""

from collections.abc import Mapping

from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from keras_crosscoop.data.checks import DatasetReport
from keras_crosscoop.data.importing import ImportReport
from keras_crosscoop.data.spec import Entry
from keras_crosscoop.data.statistics import SplitStatistics

MAX_FINDINGS = 20  # lines of one severity
MAX_SIZES = 3  # lines of image sizes per split
_STYLES = {"problem": "bold red", "warning": "yellow", "note": "dim"}


def print_catalogue(catalogue: Mapping[str, Entry]) -> None:
    """Prints each data set and its source."""
    table = Table(title="Data sets", show_lines=True)
    for column in ("name", "classes"):
        table.add_column(column, no_wrap=True)
    table.add_column("images, source, licence, layout of --data-dir", overflow="fold")
    for name, entry in catalogue.items():
        images = (split if count is None else f"{split} {count:,}" for split, count in entry.splits.items())
        about = f"{', '.join(images)}\n{entry.source}\nLicence: {entry.licence}\nFolder: {entry.layout}"
        table.add_row(name, "yours" if entry.classes is None else str(entry.classes), escape(about))
    Console().print(table)


def print_report(report: DatasetReport) -> None:
    """Prints image sizes, class frequencies and findings, one line per cause."""
    console = Console()
    console.print(_sizes(report))
    labelled = [split for split in report.splits if any(split.pixels)]
    if labelled:
        console.print(_frequencies(report, labelled))
    for severity, style in _STYLES.items():
        lines = report.lines(severity)
        for line in lines[:MAX_FINDINGS]:
            console.print(Text(f"{severity}: ", style).append(line, "default"), soft_wrap=True)
        if len(lines) > MAX_FINDINGS:
            console.print(f"{severity}: and {len(lines) - MAX_FINDINGS:,} more; --json lists all", style=style)
    images = sum(split.images for split in report.splits)
    problems = len(report.problems)
    if problems:
        summary = f"{problems} problem{'s' if problems > 1 else ''}; images without problems: {images:,}."
    else:
        summary = f"No problems: {images:,} images and their labels were read."
    console.print(summary, style="bold red" if problems else "bold green", highlight=False)


def _sizes(report: DatasetReport) -> Table:
    table = Table(title=f"Data set {escape(report.dataset)}")
    table.add_column("split")
    table.add_column("images", justify="right")
    table.add_column("width x height")
    table.add_column("void", justify="right")
    for split in report.splits:
        sizes = [f"{width}x{height}: {images:,}" for (height, width), images in split.sizes.items()]
        more = [f"and {len(sizes) - MAX_SIZES} more sizes"] if len(sizes) > MAX_SIZES else []
        void = f"{split.void_share:.1%}" if split.labelled else "no labels"
        table.add_row(escape(split.name), f"{split.images:,}", "\n".join(sizes[:MAX_SIZES] + more), void)
    return table


def _frequencies(report: DatasetReport, splits: list[SplitStatistics]) -> Table:
    with_images = len(splits) <= 2  # more columns do not fit 80 characters
    title = "Share of each class in the labelled pixels"
    table = Table(title=f"{title}, and images that contain it" if with_images else title)
    table.add_column("class", no_wrap=True)
    for split in splits:
        table.add_column(escape(split.name), justify="right", no_wrap=True)
        if with_images:
            table.add_column("images", justify="right")
    table.add_column(f"in {escape(splits[0].name)}", width=20 if with_images else 12)
    longest = max(splits[0].frequencies)
    for index, name in enumerate(report.classes):
        cells = []
        for split in splits:
            images = split.images_with[index]
            cells.append(f"{split.frequencies[index]:.2%}" if images else "absent")
            if with_images:
                cells.append(f"{images:,}")
        colour = "#{:02x}{:02x}{:02x}".format(*report.palette[index])
        table.add_row(escape(name), *cells, Bar(longest, 0, splits[0].frequencies[index], color=colour))
    return table


def print_import(report: ImportReport) -> None:
    """Prints what was imported, findings, and the command that trains on it."""
    console = Console()
    splits = ", ".join(f"{split} {count:,}" for split, count in report.splits.items())
    console.print(f"Format: {report.format}   Images: {splits}", markup=False, highlight=False, soft_wrap=True)
    table = Table(title="Classes")
    table.add_column("id", justify="right")
    table.add_column("class", overflow="fold")
    table.add_column("pixels", justify="right")
    total = max(1, sum(report.pixels.values()))
    for number, (name, pixels) in enumerate(report.pixels.items()):
        table.add_row(str(255 if name == "void" else number), escape(name), f"{pixels / total:.2%}")
    console.print(table)
    for finding in report.findings:
        line = Text(f"{finding.severity}: ", _STYLES[finding.severity]).append(finding.message, "default")
        console.print(line, soft_wrap=True)
    folder = report.folder
    console.print(f"Data set: {folder}\nTrain: crosscoop-tf fit --data-dir {folder}", markup=False, soft_wrap=True)
