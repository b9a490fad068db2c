"""The examples of docs/serving.md work, with the names and ports of this server."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import photograph
from PIL import Image

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A photo in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.jpg"
    Image.fromarray(photograph(40, 48)[0].astype(np.uint8)).save(path, quality=95)
    return path


def client(language, word):
    """The client that contains a word."""
    (block,) = (block for block in blocks(language) if word in block)
    return block


def test_the_client_over_rest(rest, network, photo):
    code = client("python", "urlopen").replace("http://localhost:8501", rest).replace("street_scenes-1", "a%20street-1")
    variables = {}
    exec(code, variables)
    np.testing.assert_array_equal(variables["classes"], network.segment(photo))
    assert np.shape(variables["confidence"]) == (40, 48)


def test_the_client_over_grpc(grpc, network, photo):
    target = grpc.removeprefix("grpc://")
    code = client("python", "grpc").replace("localhost:8500", target).replace("street_scenes-1", "a street-1")
    variables = {}
    exec(code, variables)
    np.testing.assert_array_equal(variables["classes"], network.segment(photo))


def test_the_client_with_curl(rest, network, photo):
    script = client("sh", "base64").replace("http://localhost:8501", rest).replace("street_scenes-1", "a%20street-1")
    result = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    (prediction,) = json.loads(result.stdout)["predictions"]
    np.testing.assert_array_equal(prediction["classes"], network.segment(photo))


def test_the_kubernetes_manifest():
    deployment, service = yaml.safe_load_all(*blocks("yaml"))
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    (mount,) = container["volumeMounts"]
    for probe in ("startupProbe", "readinessProbe"):
        request = container[probe]["httpGet"]
        assert f"/models/{request['path'].rpartition('/')[2]}" == mount["mountPath"]
        assert request["port"] in ports
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == [mount["name"]]
