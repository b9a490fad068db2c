"""Tables say what was measured, and mark the best."""

import csv
import io

import pytest

from keras_crosscoop import config
from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.gains import Gain
from keras_crosscoop.ablation.results import Result
from keras_crosscoop.ablation.rows import ROWS
from keras_crosscoop.ablation.tables import Table, as_csv, markdown, tables

COSTS = ("parameters, M", "GFLOPs", "ms")
COST = RowCost(2_500_000, 7_000_000_000, 0.25)
GAIN = Gain(0.02, (0.01, 0.03), (0.005, 0.031), 0.0141, True)


def line(row, output, mean_iou, road, sky, gain=None, published=None, cost=COST):
    method = ROWS[row]
    classes = {"road": road, "sky": sky}
    title = method.title.format(top="a", bottom="b")
    return Result(method, title, output, (0, 1), mean_iou, classes, cost, published, gain, method.outputs[output])


LINES = [
    line("single_top", "single", (0.50, 0.52), (0.4, 0.5), (0.6, 0.6), GAIN, 80.1),
    line("cross_without_c1", "top", (0.51, 0.51), (0.4, 0.4), (0.9, None), GAIN._replace(mean=-0.02)),
    line("cross", "top", (0.53, 0.55), (0.5, 0.5), (0.55, 0.55), None, 81.5, RowCost(1, 2, 0.5)),
    line("cross", "bottom", (0.40, 0.40), (0.3, 0.3), (None, None), None, None, RowCost(1, 2, 0.5)),
]


def settings(name):
    return config.settings({"data": {"name": name}})


def texts(table):
    return [list(row) for row in table.rows]


def test_methods_by_classes():
    table = tables(LINES, settings("voc2012"))[0]
    assert table.title == "Table 1: IoU in % of each method and class on voc2012 val"
    assert table.columns == ["method", "output", "road", "sky", "mIoU", "paper, mIoU", *COSTS]
    assert texts(table) == [
        ["single network: a", "single", "45.0", "60.0", "51.0 ± 1.4", "80.1", "2.50", "7.00", "250.0"],
        ["cross cooperative network", "top", "50.0", "55.0", "54.0 ± 1.4", "81.5", "0.00", "0.00", "500.0"],
        ["cross cooperative network", "bottom", "30.0", "–", "40.0 ± 0.0", "", "0.00", "0.00", "500.0"],
    ]
    assert table.best == {(0, 3), (1, 2), (1, 4)}


def test_connections():
    table = tables(LINES, settings("camvid"))[1]
    assert table.title == "In the format of Table 5: effect of the connections on camvid"
    assert [row[1:5] for row in texts(table)] == [
        ["", "✓", "top", "51.0 ± 0.0"],
        ["✓", "✓", "top", "54.0 ± 1.4"],
        ["✓", "✓", "bottom", "40.0 ± 0.0"],
    ]


@pytest.mark.parametrize(
    ("row", "ticks"),
    [
        ("cross_without_c1_c2", ["", ""]),
        ("cross_without_c1", ["", "✓"]),
        ("cross_without_c2", ["✓", ""]),
        ("cross_reduced", ["✓", "✓"]),
    ],
)
def test_ticks_follow_the_sites(row, ticks):
    table = tables([line(row, "top", (0.5,), (0.5,), (0.5,))], settings("camvid"))[0]
    assert texts(table)[0][1:3] == ticks
    sites = ROWS[row].settings(config.settings({}), 0).model.sites
    assert ticks == ["✓" if site in sites else "" for site in ("backbone", "aspp_output")]


def test_gains():
    *_, gains = tables(LINES, settings("camvid"))
    assert texts(gains) == [
        ["cross, top", "single network: a", "single", "+2.00", "+0.50 to +3.10", "1.41", "ahead"],
        [
            *("cross, top", "cross without Connection 1", "top"),
            *("-2.00", "+0.50 to +3.10", "1.41", "behind"),
        ],
    ]
    unsure = line("none", "top", (0.5,), (0.5,), (0.5,), GAIN._replace(is_clear=False, spread=None))
    *_, gains = tables([unsure], settings("camvid"))
    assert texts(gains)[0][-2:] == ["–", "unclear"]


@pytest.mark.parametrize(
    ("name", "title", "first"),
    [
        ("voc2012", "Table 2: other methods, as listed in the paper", ["DeepLabV3", "76.5"]),
        ("cityscapes", "Table 4: other methods, as listed in the paper", ["WASPNet", "74.0"]),
    ],
)
def test_other_methods_are_published_not_measured(name, title, first):
    *_, table = tables(LINES, settings(name))
    assert (table.title, texts(table)[0], table.note) == (title, first, "Published values.")
    assert all("other methods" not in table.title for table in tables(LINES, settings("camvid")))


def test_markdown():
    table = Table("Title", ["a", "b"], [["x|y", "1"]], frozenset([(0, 1)]), "A note.")
    assert markdown(table) == "## Title\n\n| a | b |\n| --- | --- |\n| x\\|y | **1** |\n\nA note.\n"


def test_csv_holds_numbers():
    rows = list(csv.DictReader(io.StringIO(as_csv(LINES))))
    first = rows[0]
    assert (first["row"], first["output"], first["seeds"]) == ("single_top", "single", "2")
    assert float(first["mean_iou"]) == pytest.approx(0.51)
    assert float(first["mean_iou_std"]) == pytest.approx(0.0141421, rel=1e-4)
    assert (float(first["gain_of_cross"]), float(first["gain_low"])) == (0.02, 0.005)
    assert float(first["published_mean_iou"]) == pytest.approx(0.801)
    assert (rows[3]["sky_iou"], rows[3]["gain_of_cross"]) == ("", "")
