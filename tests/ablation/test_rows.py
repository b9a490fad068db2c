"""What each row changes of the full method, and nothing else."""

import pytest
from helpers import refused

from keras_crosscoop import config
from keras_crosscoop.ablation.rows import ROWS, TABLES, select_rows
from keras_crosscoop.models.connections import SITES

BASE = config.settings(
    {
        "model": {
            "top": {"name": "mobilenet_v2", "alpha": 0.5},
            "bottom": "resnet50",
            "weights": {"top": "/top.h5", "bottom": "/bottom.h5"},
            "topology": "one_way",  # whatever a recipe says: rows are told from the full method
            "sites": ["aspp"],
            "channel_reduction": 4,
        },
        "train": {"learning_rate": 0.3, "seed": 7, "epochs": 50, "patience": 2},
    }
)
TOP, BOTTOM = {"name": "mobilenet_v2", "alpha": 0.5}, "resnet50"
BOTH = {"top": "/top.h5", "bottom": "/bottom.h5"}
FULL = {"top": TOP, "bottom": BOTTOM, "weights": BOTH, "topology": "cross", "sites": SITES, "channel_reduction": 1}
MODELS = {
    "single_top": {"top": TOP, "bottom": None, "weights": "/top.h5"},
    "single_bottom": {"top": BOTTOM, "bottom": None, "weights": "/bottom.h5"},
    "one_way_equal": FULL | {"top": BOTTOM, "weights": "/bottom.h5", "topology": "one_way"},
    "one_way": FULL | {"topology": "one_way"},
    "none": FULL | {"topology": "none"},
    "cross": FULL,
    "cross_without_c1": FULL | {"sites": ("aspp", "aspp_output", "decoder")},
    "cross_without_c2": FULL | {"sites": ("backbone", "aspp", "decoder")},
    "cross_without_c1_c2": FULL | {"sites": ("aspp", "decoder")},
    "cross_reduced": FULL | {"channel_reduction": 8},
}


@pytest.mark.parametrize("name", MODELS)
def test_the_network_of_each_row(name):
    settings = ROWS[name].settings(BASE, 3)
    model = settings.model.model_dump()
    assert {key: model[key] for key in MODELS[name]} == MODELS[name]


@pytest.mark.parametrize("name", ROWS)
def test_all_else_is_the_same(name):
    settings = ROWS[name].settings(BASE, 3)
    assert settings.train.seed == 3
    assert (settings.train.validate_every, settings.train.patience) == (50, None)  # none ends sooner, or is picked
    changed = {"model": True, "train": {"seed", "validate_every", "patience"}}
    assert settings.model_dump(exclude=changed) == BASE.model_dump(exclude=changed)
    shared = ("fusion", "output_stride", "decoder_channels", "dropout")
    assert [getattr(settings.model, key) for key in shared] == [getattr(BASE.model, key) for key in shared]
    assert config.settings(settings.model_dump(mode="json")) == settings  # as a process gets them


@pytest.mark.parametrize("name", ROWS)
def test_weights_of_outputs_losses_go_with_pairs(name):
    weights = {"bottom": 0.5}
    base = BASE.model_copy(update={"loss": BASE.loss.model_copy(update={"weights": weights})})
    settings = ROWS[name].settings(base, 0)
    assert settings.loss.weights == (weights if settings.model.bottom else {})
    assert config.settings(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("name", ROWS)
def test_outputs_are_compared_with_those_of_the_same_backbone(name):
    row = ROWS[name]
    model = row.settings(BASE, 0).model
    backbones = {"top": model.top, "bottom": model.bottom, "single": model.top, "ensemble": None}
    full = {"top": TOP, "bottom": BOTTOM, "ensemble": None}
    assert {output: backbones[output] for output in row.outputs} == {
        output: full[against] for output, against in row.outputs.items()
    }


def test_every_row_is_trained_or_an_ensemble_of_trained_ones():
    assert set(MODELS) | {"ensemble_singles"} == set(ROWS)
    assert ROWS["ensemble_singles"].ensemble == ("single_top", "single_bottom")


def test_titles_name_backbones():
    assert ROWS["single_top"].full_title(BASE) == "single network: mobilenet_v2"
    assert ROWS["one_way_equal"].full_title(BASE) == "conventional (one way), resnet50 twice"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["table5"], ["cross_without_c1_c2", "cross_without_c1", "cross_without_c2", "cross"]),
        (["cross", "single_top"], ["single_top", "cross"]),
        (["ensemble_singles"], ["single_top", "single_bottom", "ensemble_singles"]),
        (["all"], list(ROWS)),
        (["table1", "cross_without_c1"], [name for name in ROWS if name in (*TABLES["table1"], "cross_without_c1")]),
    ],
)
def test_rows_are_named_by_tables_or_themselves(names, expected):
    assert [row.name for row in select_rows(names)] == expected


def test_unknown_rows_are_refused():
    assert 'Did you mean "cross_without_c1"?' in refused(select_rows, ["cross_wihout_c1"])
