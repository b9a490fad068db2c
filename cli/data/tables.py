"""Data sets as tables."""

from collections.abc import Mapping

from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from keras_crosscoop.data.checking import Report, Split
from keras_crosscoop.data.spec import Entry

FINDINGS = 20  # of a kind
SIZES = 3  # of images, the commonest ones; more would hide the table
_STYLES = {"problem": "bold red", "warning": "yellow", "note": "dim"}


def print_catalogue(catalogue: Mapping[str, Entry]) -> None:
    """Prints what each data set is, and where to get it."""
    table = Table(title="Data sets", show_lines=True)
    for column in ("name", "classes"):
        table.add_column(column, no_wrap=True)
    table.add_column("images, source, licence, and what --data-dir must hold", overflow="fold")
    for name, entry in catalogue.items():
        images = (split if count is None else f"{split} {count:,}" for split, count in entry.splits.items())
        about = f"{', '.join(images)}\n{entry.source}\nLicence: {entry.licence}\nFolder: {entry.layout}"
        table.add_row(name, "yours" if entry.classes is None else str(entry.classes), escape(about))
    Console().print(table)


def print_report(report: Report) -> None:
    """Prints sizes and frequencies, then what was found, a line for each cause."""
    console = Console()
    console.print(_sizes(report))
    labelled = [split for split in report.splits if any(split.pixels)]
    if labelled:
        console.print(_frequencies(report, labelled))
    for severity, style in _STYLES.items():
        found = report.lines(severity)
        for message in found[:FINDINGS]:
            console.print(Text(f"{severity}: ", style).append(message, "default"), soft_wrap=True)
        if len(found) > FINDINGS:
            console.print(f"{severity}: and {len(found) - FINDINGS:,} more; --json lists all", style=style)
    images = sum(split.images for split in report.splits)
    problems = len(report.problems)
    console.print(
        f"{problems} problem{'s' if problems > 1 else ''}; images without one: {images:,}."
        if problems
        else f"All is well: {images:,} images and their labels were read.",
        style="bold red" if problems else "bold green",
        highlight=False,
    )


def _sizes(report: Report) -> Table:
    table = Table(title=f"Data set {escape(report.dataset)}")
    table.add_column("split")
    table.add_column("images", justify="right")
    table.add_column("width x height")
    table.add_column("void", justify="right")
    for split in report.splits:
        sizes = [f"{width}x{height}: {images:,}" for (height, width), images in split.sizes.items()]
        more = [f"and {len(sizes) - SIZES} more sizes"] if len(sizes) > SIZES else []
        void = f"{split.void_share:.1%}" if split.labelled else "no labels"
        table.add_row(escape(split.name), f"{split.images:,}", "\n".join(sizes[:SIZES] + more), void)
    return table


def _frequencies(report: Report, splits: list[Split]) -> Table:
    with_images = len(splits) <= 2  # or else 80 columns do not hold it
    title = "Share of each class in all pixels that have one"
    table = Table(title=f"{title}, and images with it" if with_images else title)
    table.add_column("class", no_wrap=True)
    for split in splits:
        table.add_column(escape(split.name), justify="right", no_wrap=True)
        if with_images:
            table.add_column("images", justify="right")
    table.add_column(f"in {escape(splits[0].name)}", width=20 if with_images else 12)
    most = max(splits[0].frequencies)
    for index, name in enumerate(report.classes):
        cells = []
        for split in splits:
            images = split.images_with[index]
            cells.append(f"{split.frequencies[index]:.2%}" if images else "never")
            if with_images:
                cells.append(f"{images:,}")
        colour = "#{:02x}{:02x}{:02x}".format(*report.palette[index])
        table.add_row(escape(name), *cells, Bar(most, 0, splits[0].frequencies[index], color=colour))
    return table
