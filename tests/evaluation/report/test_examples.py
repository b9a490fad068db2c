"""What one reads in a report's examples is exactly what the networks gave."""

import numpy as np
import pytest
from helpers import refused
from PIL import Image

from keras_crosscoop.evaluation.report import write_report
from keras_crosscoop.evaluation.report.examples import spread
from keras_crosscoop.evaluation.report.panels import AGREEMENT, of_disagreement, of_output
from keras_crosscoop.images.io import palette_table
from keras_crosscoop.models.inference import Inference


def panels_of(article):
    return {image.attributes["data-name"]: image.attributes for image in article.all("img")}


@pytest.mark.parametrize("looking", [{}, {"scales": [0.5, 1.0], "flip": True}, {"window": 16, "overlap": 0.5}])
def test_panels_hold_the_ids_and_probabilities(make_run, make_figures, page_of, picture, looking, linear):
    run, data = make_run(images=1)
    figures = make_figures(data, **looking)
    model = linear()
    page = page_of(write_report(run, figures, model, data))
    (article,) = page.all("article")
    panels = panels_of(article)
    assert list(panels) == ["image", "truth", "top", "bottom", "ensemble", "disagreement"]
    assert (article.attributes["data-height"], article.attributes["data-width"]) == ("24", "32")
    image, labels = data.read(*data.find("val")[0])
    assert picture(panels["image"]["src"]).shape == image.shape
    np.testing.assert_array_equal(picture(panels["truth"]["data-classes"]), labels)
    colours = np.asarray(picture(panels["truth"]["src"], raw=True).convert("RGB"))
    np.testing.assert_array_equal(colours, palette_table(run.palette)[labels])
    probabilities = Inference(model, **looking)(image)
    for output, of_output_ in probabilities.items():
        ranked = np.argsort(-of_output_, axis=-1)
        np.testing.assert_array_equal(picture(panels[output]["data-classes"]), ranked)
        values = picture(panels[output]["data-probabilities"])
        np.testing.assert_array_equal(values, np.round(255 * np.take_along_axis(of_output_, ranked, -1)))
        assert np.ptp(values[..., 0]) > 50  # sure here, unsure there
        colours = np.asarray(picture(panels[output]["src"], raw=True).convert("RGB"))
        np.testing.assert_array_equal(colours, palette_table(run.palette)[of_output_.argmax(-1)])


def test_captions_tell_the_images_figures(make_run, make_figures, page_of, linear):
    run, data = make_run(images=3)
    figures = make_figures(data)
    for of_image, iou in zip(figures["per_image"], (0.25, 0.75, 0.5), strict=True):
        of_image["mean_iou"]["ensemble"] = iou
    page = page_of(write_report(run, figures, linear(), data))
    assert [article.all("h3")[0].text for article in page.all("article")] == [
        "The best 001.png",
        "The worst 000.png",
        "Ordinary: rank 2 of 3 002.png",
    ]
    best = page.all("article")[0].all("figcaption")
    assert best[1].text == "truth"
    assert best[2].text == f"top, mean IoU {100 * figures['per_image'][1]['mean_iou']['top']:.1f} %"
    assert best[4].text == "ensemble, mean IoU 75.0 %"


def test_two_classes_leave_the_third_place_empty(picture):
    panel = of_output("top", np.array([[[0.25, 0.75], [0.6, 0.4]]]), [(1, 2, 3), (4, 5, 6)])
    np.testing.assert_array_equal(picture(panel.classes), [[[1, 0, 255], [0, 1, 255]]])
    np.testing.assert_array_equal(picture(panel.probabilities), [[[191, 64, 0], [153, 102, 0]]])


def test_disagreement_has_a_colour_for_each_case(picture):
    labels, top, bottom = np.array([[0, 1, 0, 0, 1, 255], [0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 2, 0]])[:, None].astype(
        "uint8"
    )
    panel = of_disagreement(labels, top, bottom)
    shown = np.asarray(picture(panel.picture, raw=True).convert("RGB"))[0]
    assert [f"#{bytes(pixel.tolist()).hex().upper()}" for pixel in shown] == [*AGREEMENT.values(), "#FFFFFF"]
    assert list(AGREEMENT) == [
        *("both right", "both wrong, and the same", "top alone right", "bottom alone right"),
        "both wrong, and different",
    ]


def test_large_images_are_shown_by_their_nearest_pixels(make_run, make_figures, page_of, picture, linear):
    run, data = make_run(images=1, size=(100, 1280))
    page = page_of(write_report(run, make_figures(data), linear(), data))
    (article,) = page.all("article")
    assert (article.attributes["data-height"], article.attributes["data-width"]) == ("100", "1280")
    panels = panels_of(article)
    _, labels = data.read(*data.find("val")[0])
    np.testing.assert_array_equal(picture(panels["truth"]["data-classes"]), labels[1::2, 1::2])
    assert {picture(panel["src"]).shape[:2] for panel in panels.values()} == {(50, 640)}


def test_examples_show_the_middle_that_was_measured(make_run, make_figures, page_of, picture, linear):
    run, data = make_run(images=1, size=(24, 12))
    page = page_of(write_report(run, make_figures(data, crop=16), linear(), data))
    truth = picture(panels_of(page.all("article")[0])["truth"]["data-classes"])
    _, labels = data.read(*data.find("val")[0])
    expected = np.full((16, 16), 255)
    expected[:, 2:14] = labels[4:20]
    np.testing.assert_array_equal(truth, expected)


def test_skipped_images_do_not_shift_the_others(make_run, make_figures, page_of, picture, linear):
    run, data = make_run(images=4)
    figures = make_figures(data)
    del figures["per_image"][1], figures["per_image"][2]  # 001 and 003
    page = page_of(write_report(run, figures, linear(), data))
    found = {article.all("small")[0].text: article for article in page.all("article")}
    assert set(found) == {"000.png", "002.png"}
    for (image, label), name in zip(data.find("val")[::2], sorted(found), strict=True):
        _, labels = data.read(image, label)
        np.testing.assert_array_equal(picture(panels_of(found[name])["truth"]["data-classes"]), labels)


def test_an_image_that_is_gone_is_named(make_run, make_figures, linear):
    run, data = make_run()
    figures = make_figures(data)
    figures["per_image"][1]["image"] = "elsewhere.png"
    message = refused(write_report, run, figures, linear(), data)
    assert message.endswith("Received: elsewhere.png")
    assert "metrics.json" in message


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], []),
        ([None], []),
        ([0.5], [("The best", 0)]),
        ([0.1, None, 0.5], [("The best", 2), ("The worst", 0)]),
        (
            [i / 20 for i in range(11)],
            [
                ("The best", 10),
                ("The worst", 0),
                *((f"Ordinary: rank {rank} of 11", 11 - rank) for rank in (3, 5, 7, 9)),
            ],
        ),
    ],
)
def test_the_best_the_worst_and_some_between_are_chosen(scores, expected):
    assert spread(scores) == expected


def test_panels_are_lossless_but_the_image(make_run, make_figures, page_of, picture, linear):
    run, data = make_run(images=1)
    panels = panels_of(page_of(write_report(run, make_figures(data), linear(), data)).all("article")[0])
    assert picture(panels["image"]["src"], raw=True).format == "JPEG"
    for name, panel in panels.items():
        for part in ("src", "data-classes", "data-probabilities"):
            if part in panel and name != "image":
                found: Image.Image = picture(panel[part], raw=True)
                assert found.format == "PNG"
                assert "transparency" not in found.info  # a canvas would change such colours
                assert "A" not in found.mode
