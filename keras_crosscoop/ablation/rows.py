"""What is compared: the rows of the paper's tables 1 (figures 4 and 5) and 5, and a cheaper cooperation.

Each is the full method but for what `changes` says; all else, data, steps and schedule, is the same for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_crosscoop.config import Model, Settings
from keras_crosscoop.errors import unknown_name
from keras_crosscoop.models.connections import SITES
from keras_crosscoop.models.naming import output_choices

REDUCTION = 8  # of the cheaper cooperation

FULL = {"topology": "cross", "sites": SITES, "fusion": "concat", "channel_reduction": 1}  # the paper's method
OUTPUTS = output_choices(("top", "bottom"))
FULL_METHOD = "cross"  # the row that all others are compared with


@dataclass(frozen=True)
class Row:
    """A method that is measured.

    Attributes:
        name: on the command line, and of its folder.
        title: in tables, with the names of backbones to be filled in.
        changes: what its network has instead of the full method's, told from the full method's settings.
        shown: its outputs, and which output of the full method each is compared with: the one with its backbone.
        joins: rows of single networks that this one's ensemble is made of; it is not trained then.
    """

    name: str
    title: str
    changes: Callable[[Model], dict[str, Any]] = lambda model: {}
    shown: Mapping[str, str] = field(default_factory=lambda: dict(zip(OUTPUTS, OUTPUTS, strict=True)))
    joins: tuple[str, ...] = ()

    def settings(self, base: Settings, seed: int) -> Settings:
        """Those of its training: as long as any other's, and measured at its end, not where validation was best."""
        full = base.model.model_copy(update=FULL)
        model = full.model_copy(update=self.changes(full))
        loss = base.loss.model_copy(update={} if model.bottom else {"weights": {}})  # a single network has one loss
        same = {"seed": seed, "validate_every": base.train.epochs, "patience": None}
        train = base.train.model_copy(update=same)
        return base.model_copy(update={"model": model, "train": train, "loss": loss})

    def titled(self, base: Settings) -> str:
        """Its title with the names of backbones."""
        return self.title.format(top=backbone_name(base.model.top), bottom=backbone_name(base.model.bottom))


def backbone_name(backbone: str | Mapping[str, Any]) -> str:
    """Of a setting, which may have options, too."""
    return backbone if isinstance(backbone, str) else backbone["name"]


def _single(side: str) -> Callable[[Model], dict[str, Any]]:
    def changes(model: Model) -> dict[str, Any]:
        return {"top": getattr(model, side), "bottom": None, "weights": model.weights_of_sides[side]}

    return changes


def _bottom_twice(model: Model) -> dict[str, Any]:
    return {"top": model.bottom, "topology": "one_way", "weights": model.weights_of_sides["bottom"]}


def _without(*sites: str) -> Callable[[Model], dict[str, Any]]:
    return lambda model: {"sites": tuple(site for site in SITES if site not in sites)}


ROWS = {
    row.name: row
    for row in (
        Row("single_top", "single network: {top}", _single("top"), {"single": "top"}),
        Row("single_bottom", "single network: {bottom}", _single("bottom"), {"single": "bottom"}),
        Row(
            "one_way_equal",
            "conventional (one way), {bottom} twice",
            _bottom_twice,
            {"top": "bottom", "bottom": "bottom", "ensemble": "ensemble"},
        ),
        Row("one_way", "conventional (one way), {top} and {bottom}", lambda model: {"topology": "one_way"}),
        Row("none", "two networks without any path", lambda model: {"topology": "none"}),
        Row(
            "ensemble_singles",
            "ensemble of the single networks",
            shown={"ensemble": "ensemble"},
            joins=("single_top", "single_bottom"),
        ),
        Row("cross_without_c1_c2", "cross without Connections 1 and 2", _without("backbone", "aspp_output")),
        Row("cross_without_c1", "cross without Connection 1", _without("backbone")),
        Row("cross_without_c2", "cross without Connection 2", _without("aspp_output")),
        Row("cross_reduced", f"cross, 1 in {REDUCTION} channels read", lambda model: {"channel_reduction": REDUCTION}),
        Row(FULL_METHOD, "cross cooperative network"),
    )
}
TABLES = {
    "table1": ("single_top", "single_bottom", "one_way_equal", "one_way", "none", "ensemble_singles", "cross"),
    "table5": ("cross_without_c1_c2", "cross_without_c1", "cross_without_c2", "cross"),
    "all": tuple(ROWS),
}


def selected(names: Sequence[str]) -> list[Row]:
    """The rows of names, of tables or of themselves, with those that they are made of, in the tables' order.

    Raises:
        InputError: there is none of such a name.
    """
    found: set[str] = set()
    for name in names:
        if name not in (*TABLES, *ROWS):
            raise unknown_name("row", name, (*TABLES, *ROWS))
        for row in TABLES.get(name, (name,)):
            found |= {row, *ROWS[row].joins}
    return [row for row in ROWS.values() if row.name in found]
