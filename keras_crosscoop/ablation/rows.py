"""The rows of an ablation: the rows of the paper's tables 1 (figures 4 and 5) and 5, and a cheaper cooperation.

Each row is the full method with `changes`; data, steps and schedule are the same for all rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_crosscoop.config import Model, Settings
from keras_crosscoop.errors import unknown_name
from keras_crosscoop.models.connections import SITES

REDUCTION = 8  # the `channel_reduction` of the cheaper cooperation

FULL = {"topology": "cross", "sites": SITES, "fusion": "concat", "channel_reduction": 1}  # the paper's method
FULL_METHOD = "cross"  # the row that all others are compared with
_OUTPUTS = {"top": "top", "bottom": "bottom", "ensemble": "ensemble"}


@dataclass(frozen=True)
class Row:
    """A method that an ablation measures."""

    name: str  # on the command line, and of the folder
    title: str  # in tables, a format string with the fields `top` and `bottom` for the backbones' names
    changes: Callable[[Model], dict[str, Any]] = lambda model: {}  # from the full method's settings to the changed ones
    # Each with the output of the full method to compare with, which has the same backbone.
    outputs: Mapping[str, str] = field(default_factory=lambda: _OUTPUTS)
    ensemble: tuple[str, ...] = ()  # the rows of trained single networks, which need no further training

    def settings(self, base: Settings, seed: int) -> Settings:
        """Returns the training settings: one validation after the last epoch, so that its weights are measured."""
        full = base.model.model_copy(update=FULL)
        model = full.model_copy(update=self.changes(full))
        loss = base.loss.model_copy(update={} if model.bottom else {"weights": {}})  # a single network has one loss
        train = base.train.model_copy(update={"seed": seed, "validate_every": base.train.epochs, "patience": None})
        return base.model_copy(update={"model": model, "train": train, "loss": loss})

    def full_title(self, base: Settings) -> str:
        """Returns the title with the names of the backbones."""
        return self.title.format(top=backbone_name(base.model.top), bottom=backbone_name(base.model.bottom))


def backbone_name(backbone: str | Mapping[str, Any]) -> str:
    """Returns the name of a backbone setting, which may be a mapping of name and options."""
    return backbone if isinstance(backbone, str) else backbone["name"]


def _single(side: str) -> Callable[[Model], dict[str, Any]]:
    return lambda model: {"top": getattr(model, side), "bottom": None, "weights": model.weights_of_sides[side]}


def _bottom_twice(model: Model) -> dict[str, Any]:
    return {"top": model.bottom, "topology": "one_way", "weights": model.weights_of_sides["bottom"]}


def _without(*sites: str) -> Callable[[Model], dict[str, Any]]:
    return lambda model: {"sites": tuple(site for site in SITES if site not in sites)}


ROWS = {
    row.name: row
    for row in (
        Row("single_top", "single network: {top}", _single("top"), {"single": "top"}),
        Row("single_bottom", "single network: {bottom}", _single("bottom"), {"single": "bottom"}),
        Row("one_way_equal", "conventional (one way), {bottom} twice", _bottom_twice, _OUTPUTS | {"top": "bottom"}),
        Row("one_way", "conventional (one way), {top} and {bottom}", lambda model: {"topology": "one_way"}),
        Row("none", "two networks without connections", lambda model: {"topology": "none"}),
        Row(
            "ensemble_singles",
            "ensemble of the single networks",
            outputs={"ensemble": "ensemble"},
            ensemble=("single_top", "single_bottom"),
        ),
        Row("cross_without_c1_c2", "cross without Connections 1 and 2", _without("backbone", "aspp_output")),
        Row("cross_without_c1", "cross without Connection 1", _without("backbone")),
        Row("cross_without_c2", "cross without Connection 2", _without("aspp_output")),
        Row("cross_reduced", f"cross, 1/{REDUCTION} of the channels", lambda model: {"channel_reduction": REDUCTION}),
        Row(FULL_METHOD, "cross cooperative network"),
    )
}
TABLES = {
    "table1": ("single_top", "single_bottom", "one_way_equal", "one_way", "none", "ensemble_singles", "cross"),
    "table5": ("cross_without_c1_c2", "cross_without_c1", "cross_without_c2", "cross"),
    "all": tuple(ROWS),
}


def select_rows(names: Sequence[str]) -> list[Row]:
    """Returns the rows with these names or in these tables, in order; for an ensemble, also the rows of its members.

    Raises:
        InputError: There is no row or table of that name.
    """
    selected: set[str] = set()
    for name in names:
        if name not in (*TABLES, *ROWS):
            raise unknown_name("row", name, (*TABLES, *ROWS))
        for row in TABLES.get(name, (name,)):
            selected |= {row, *ROWS[row].ensemble}
    return [row for row in ROWS.values() if row.name in selected]
