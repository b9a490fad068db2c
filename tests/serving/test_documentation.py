"""What docs/serving.md shows works as it stands, but for names and ports."""

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
def expected(run, tmp_path, monkeypatch):
    """The classes of a photo in the working directory."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph(40, 48)[0].astype(np.uint8)).save("photo.jpg", quality=95)
    return run.load().segment(tmp_path / "photo.jpg")


def at(server, text):
    """The same, of this server."""
    for written, here in (("http://localhost:8501", server.rest), ("localhost:8500", server.grpc.partition("//")[2])):
        text = text.replace(written, here)
    name = "a%20street-1" if server.rest in text else "a street-1"
    return text.replace("street_scenes-1", name)


def test_the_client_over_rest(server, expected):
    (client,) = (block for block in blocks("python") if "urlopen" in block)
    names = {}
    exec(at(server, client), names)
    np.testing.assert_array_equal(names["classes"], expected)
    assert np.shape(names["confidence"]) == expected.shape


def test_the_client_over_grpc(server, expected):
    (client,) = (block for block in blocks("python") if "grpc" in block)
    names = {}
    exec(at(server, client), names)
    np.testing.assert_array_equal(names["classes"], expected)


def test_the_request_by_curl(server, expected):
    (script,) = (block for block in blocks("sh") if "base64" in block)
    done = subprocess.run(["bash", "-c", at(server, script)], capture_output=True, check=True)
    (row,) = yaml.safe_load(done.stdout)["predictions"]
    np.testing.assert_array_equal(row["classes"], expected)


def test_the_manifest():
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
        asked = container[probe]["httpGet"]
        assert f"/models/{asked['path'].rpartition('/')[2]}" == mount["mountPath"]
        assert asked["port"] in ports
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == [mount["name"]]
