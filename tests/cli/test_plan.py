"""The plan alone: as a table, as JSON and as a recipe."""

import json

import yaml
from crosscoop_tf.settings import resolve

from keras_crosscoop import config


def test_a_plan_keeps_the_splits_and_the_evaluation_of_a_data_set():
    settings = resolve(None, (), dataset="voc2012", time="2h")
    assert (settings.data.train_split, settings.evaluation.crop) == ("trainaug", 513)
    assert "crop_size" not in settings.data.model_fields_set
    assert not settings.model.model_fields_set


def test_a_plan_as_a_table_as_json_and_as_a_recipe(crosscoop, make_folder, tmp_path):
    folder, recipe = make_folder(), tmp_path / "plan.yaml"
    given = ["--data-dir", folder, "--time", "30min", "--batch-size", "2"]
    result = crosscoop("plan", *given, "--json", "--output", recipe)
    assert result.code == 0
    plan = json.loads(result.out)
    choices = {choice["setting"]: choice for choice in plan["choices"]}
    assert choices["train.batch_size"] == {"setting": "train.batch_size", "value": 2, "reason": "given", "given": True}
    assert plan["settings"]["data"]["crop_size"] == choices["data.crop_size"]["value"]
    assert config.plain(config.settings(yaml.safe_load(recipe.read_text()))) == plan["settings"]

    table = crosscoop("plan", *given).out
    assert all(setting in table for setting in choices)

    content = recipe.read_text()
    result = crosscoop("plan", *given, "--output", recipe)
    assert (result.code, result.out) == (2, "")
    assert "exists already" in result.err
    assert recipe.read_text() == content
