"""The examples of docs/serving.md work, with the names and ports of this server."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("language", "word"), [("python", "urlopen"), ("python", "grpc"), ("sh", "base64")])
def test_clients(rest, grpc, network, photos, tmp_path, monkeypatch, language, word):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes((photos / "b.jpg").read_bytes())
    (code,) = (block for block in blocks(language) if word in block)
    name = "a street-1" if word == "grpc" else "a%20street-1"
    code = code.replace("http://localhost:8501", rest).replace("localhost:8500", grpc.removeprefix("grpc://"))
    code = code.replace("street_scenes-1", name)
    variables = {}
    if language == "python":
        exec(code, variables)
    else:
        (variables,) = json.loads(subprocess.check_output(["bash", "-c", code], stderr=subprocess.PIPE))["predictions"]
    np.testing.assert_array_equal(variables["classes"], network.segment("photo.jpg"))
    assert word == "grpc" or np.shape(variables["confidence"]) == (40, 48)


def test_the_kubernetes_manifest():
    deployment, service = yaml.safe_load_all(*blocks("yaml"))
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
