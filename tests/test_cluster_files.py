"""Image and cluster files: nothing here can be built or applied in a test, but everything can be checked."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT, kuberay
from support.commands import problems_of

WORKERS = ROOT / "workers"


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.lower().split("==") for line in lines if "==" in line)


@pytest.fixture
def image() -> list[dict[str, Any]]:
    """The Dockerfile's instructions."""
    parser = pytest.importorskip("dockerfile_parse").DockerfileParser(str(WORKERS / "Dockerfile"))
    return [step for step in parser.structure if step["instruction"] != "COMMENT"]


def test_the_image_takes_what_is_there_and_pins_what_it_installs(image: list[dict[str, Any]]) -> None:
    assert image[0]["instruction"] == "FROM"
    assert re.fullmatch(r"python:3\.11-slim-\w+", image[0]["value"])
    copied = [shlex.split(step["value"])[:-1] for step in image if step["instruction"] == "COPY"]
    sources = {source for several in copied for source in several}
    assert all((ROOT / source).exists() for source in sources)
    built = {"pyproject.toml", "README.md", "LICENSE", "piip_search", "workers", "dashboards", "search_spaces"}
    assert built | {"constraints.txt"} == sources
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == sources
    installs = [step["value"] for step in image if step["instruction"] == "RUN" and "pip install" in step["value"]]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)
    assert "'.[all]'" in installs[-1]
    assert {"torch", "torchvision", "ray", "mmdet"} <= set(pinned())


def test_what_the_build_needs_is_in_the_source_distribution() -> None:
    tomllib = pytest.importorskip("tomllib")
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = content["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"workers", "/constraints.txt"} <= set(included)
    assert "cluster" in " ".join(content["project"]["optional-dependencies"]["all"])


def test_the_cluster_of_machines_is_as_ray_wants_it() -> None:
    ray = pytest.importorskip("ray")
    jsonschema = pytest.importorskip("jsonschema")
    content = yaml.safe_load((WORKERS / "ray_cluster.yaml").read_text(encoding="utf-8"))
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema)
    types = content["available_node_types"]
    assert content["head_node_type"] in types
    assert not types["head"]["resources"]["CPU"], "trials would run beside the driver"
    assert sum(kind.get("max_workers", 0) for kind in types.values()) <= content["max_workers"]
    for command in (*content["head_start_ray_commands"], *content["worker_start_ray_commands"]):
        assert problems_of(command) == []
    assert any("/shared" in option for option in content["docker"]["run_options"])


def test_the_manifest_is_as_kuberay_and_kubernetes_want_it() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    jsonschema = pytest.importorskip("jsonschema")
    claim, job = yaml.safe_load_all((WORKERS / "kuberay.yaml").read_text(encoding="utf-8"))
    kubernetes.validate(claim, kubernetes.latest_version(), strict=True)
    jsonschema.validate(job, kuberay.RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        kubernetes.validate(pod, kubernetes.latest_version(), strict=True)
        (container,) = pod["spec"]["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounted) == {volume["name"] for volume in pod["spec"]["volumes"]}
        assert mounted["shared"] == "/shared"
        claims = [
            v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v
        ]
        assert claims == [claim["metadata"]["name"]]
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups}) == 1
    assert cluster["rayVersion"] == pinned()["ray"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert all("nvidia.com/gpu" in g["template"]["spec"]["containers"][0]["resources"]["limits"] for g in groups[1:])
    assert problems_of(job["spec"]["entrypoint"]) == []


def test_a_slip_in_the_manifest_is_found() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    _, job = yaml.safe_load_all((WORKERS / "kuberay.yaml").read_text(encoding="utf-8"))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 8
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(job, kuberay.RAY_JOB)
