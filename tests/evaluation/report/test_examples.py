"""The examples of a report contain exactly what the networks predicted."""

import numpy as np
import pytest
from helpers import refused
from networks import LinearNetwork
from PIL import Image

from keras_crosscoop.evaluation.report import write_report
from keras_crosscoop.evaluation.report.examples import representative_images
from keras_crosscoop.evaluation.report.panels import AGREEMENT, disagreement_panel, output_panel
from keras_crosscoop.images.palettes import palette_table
from keras_crosscoop.models.inference import Inference


def panels_of(article):
    return {image.attributes["data-name"]: image.attributes for image in article.all("img")}


@pytest.mark.parametrize("options", [{}, {"scales": [0.5, 1.0], "flip": True}, {"window": 16, "overlap": 0.5}])
def test_panels_contain_ids_and_probabilities(make_run, make_metrics, page_of, picture, options):
    run, data = make_run(images=1)
    metrics = make_metrics(data, **options)
    model = LinearNetwork()
    page = page_of(write_report(run, metrics, model, data))
    (article,) = page.all("article")
    panels = panels_of(article)
    assert list(panels) == ["image", "label", "top", "bottom", "ensemble", "disagreement"]
    assert (article.attributes["data-height"], article.attributes["data-width"]) == ("24", "32")
    image, labels = data.read(*data.find("val")[0])
    assert picture(panels["image"]["src"]).shape == image.shape
    np.testing.assert_array_equal(picture(panels["label"]["data-classes"]), labels)
    colours = np.asarray(picture(panels["label"]["src"], raw=True).convert("RGB"))
    np.testing.assert_array_equal(colours, palette_table(run.palette)[labels])
    probabilities = Inference(model, **options)(image)
    for output, expected in probabilities.items():
        ranked = np.argsort(-expected, axis=-1)
        np.testing.assert_array_equal(picture(panels[output]["data-classes"]), ranked)
        values = picture(panels[output]["data-probabilities"])
        np.testing.assert_array_equal(values, np.round(255 * np.take_along_axis(expected, ranked, -1)))
        assert np.ptp(values[..., 0]) > 50  # The confidence varies.
        colours = np.asarray(picture(panels[output]["src"], raw=True).convert("RGB"))
        np.testing.assert_array_equal(colours, palette_table(run.palette)[expected.argmax(-1)])


def test_captions_show_the_metrics_of_the_image(make_run, make_metrics, page_of):
    run, data = make_run(images=3)
    metrics = make_metrics(data)
    for image, iou in zip(metrics["per_image"], (0.25, 0.75, 0.5), strict=True):
        image["mean_iou"]["ensemble"] = iou
    page = page_of(write_report(run, metrics, LinearNetwork(), data))
    assert [article.all("h3")[0].text for article in page.all("article")] == [
        "Best image 001.png",
        "Worst image 000.png",
        "Rank 2 of 3 002.png",
    ]
    best = page.all("article")[0].all("figcaption")
    assert best[1].text == "label"
    assert best[2].text == f"top, mean IoU {100 * metrics['per_image'][1]['mean_iou']['top']:.1f} %"
    assert best[4].text == "ensemble, mean IoU 75.0 %"


def test_two_classes_leave_the_third_channel_empty(picture):
    panel = output_panel("top", np.array([[[0.25, 0.75], [0.6, 0.4]]]), [(1, 2, 3), (4, 5, 6)])
    np.testing.assert_array_equal(picture(panel.classes), [[[1, 0, 255], [0, 1, 255]]])
    np.testing.assert_array_equal(picture(panel.probabilities), [[[191, 64, 0], [153, 102, 0]]])


def test_disagreement_has_a_colour_for_each_case(picture):
    labels, top, bottom = np.array([[0, 1, 0, 0, 1, 255], [0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 2, 0]])[:, None].astype(
        "uint8"
    )
    panel = disagreement_panel(labels, top, bottom)
    shown = np.asarray(picture(panel.picture, raw=True).convert("RGB"))[0]
    assert [f"#{bytes(pixel.tolist()).hex().upper()}" for pixel in shown] == [*AGREEMENT.values(), "#FFFFFF"]
    assert list(AGREEMENT) == [
        *("both right", "both wrong, same class", "only top right", "only bottom right"),
        "both wrong, different classes",
    ]


def test_large_images_are_subsampled(make_run, make_metrics, page_of, picture):
    run, data = make_run(images=1, size=(100, 1280))
    page = page_of(write_report(run, make_metrics(data), LinearNetwork(), data))
    (article,) = page.all("article")
    assert (article.attributes["data-height"], article.attributes["data-width"]) == ("100", "1280")
    panels = panels_of(article)
    _, labels = data.read(*data.find("val")[0])
    np.testing.assert_array_equal(picture(panels["label"]["data-classes"]), labels[1::2, 1::2])
    assert {picture(panel["src"]).shape[:2] for panel in panels.values()} == {(50, 640)}


def test_examples_show_the_centre_crop_of_the_evaluation(make_run, make_metrics, page_of, picture):
    run, data = make_run(images=1, size=(24, 12))
    page = page_of(write_report(run, make_metrics(data, crop=16), LinearNetwork(), data))
    truth = picture(panels_of(page.all("article")[0])["label"]["data-classes"])
    _, labels = data.read(*data.find("val")[0])
    expected = np.full((16, 16), 255)
    expected[:, 2:14] = labels[4:20]
    np.testing.assert_array_equal(truth, expected)


def test_skipped_images_do_not_shift_the_others(make_run, make_metrics, page_of, picture):
    run, data = make_run(images=4)
    metrics = make_metrics(data)
    del metrics["per_image"][1], metrics["per_image"][2]  # 001 and 003
    page = page_of(write_report(run, metrics, LinearNetwork(), data))
    articles = {article.all("small")[0].text: article for article in page.all("article")}
    assert set(articles) == {"000.png", "002.png"}
    for (image, label), name in zip(data.find("val")[::2], sorted(articles), strict=True):
        _, labels = data.read(image, label)
        np.testing.assert_array_equal(picture(panels_of(articles[name])["label"]["data-classes"]), labels)


def test_a_missing_image_is_an_error(make_run, make_metrics):
    run, data = make_run()
    metrics = make_metrics(data)
    metrics["per_image"][1]["image"] = "elsewhere.png"
    message = refused(write_report, run, metrics, LinearNetwork(), data)
    assert message.endswith("Received: elsewhere.png")
    assert "metrics.json" in message


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], []),
        ([None], []),
        ([0.5], [("Best image", 0)]),
        ([0.1, None, 0.5], [("Best image", 2), ("Worst image", 0)]),
        (
            [i / 20 for i in range(11)],
            [
                ("Best image", 10),
                ("Worst image", 0),
                *((f"Rank {rank} of 11", 11 - rank) for rank in (3, 5, 7, 9)),
            ],
        ),
    ],
)
def test_the_best_the_worst_and_some_other_images_are_selected(scores, expected):
    assert representative_images(scores) == expected


def test_all_panels_but_the_image_are_lossless(make_run, make_metrics, page_of, picture):
    run, data = make_run(images=1)
    panels = panels_of(page_of(write_report(run, make_metrics(data), LinearNetwork(), data)).all("article")[0])
    assert picture(panels["image"]["src"], raw=True).format == "JPEG"
    for name, panel in panels.items():
        for part in ("src", "data-classes", "data-probabilities"):
            if part in panel and name != "image":
                image: Image.Image = picture(panel[part], raw=True)
                assert image.format == "PNG"
                assert (
                    "transparency" not in image.info
                )  # An HTML canvas would change the colours of transparent pixels.
                assert "A" not in image.mode
