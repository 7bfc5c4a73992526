"""What of KubeRay's resources the manifest uses, as JSON schema; pods are checked by Kubernetes' own schemas.

Written from KubeRay's API reference, ray.io/v1 (https://ray-project.github.io/kuberay/reference/api/), and the notes of
release 1.5.1 for `authOptions`. Fields that are not listed are refused, so that a slip of the pen is found.
"""

from typing import Any

WHOLE = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEMPLATE = _object(["spec"], metadata={"type": "object"}, spec={"type": "object"})
HEAD = _object(
    ["rayStartParams", "template"],
    rayStartParams=TEXTS,
    template=TEMPLATE,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
)
WORKERS = _object(
    ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    groupName={"type": "string"},
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    numOfHosts=WHOLE,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
CLUSTER = _object(
    ["headGroupSpec"],
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object(["mode"], mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_object(
        [], idleTimeoutSeconds=WHOLE, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}
    ),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
RAY_JOB = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_object(["name"], name={"type": "string"}, labels=TEXTS),
    spec=_object(
        ["entrypoint", "rayClusterSpec"],
        entrypoint={"type": "string"},
        backoffLimit=WHOLE,
        activeDeadlineSeconds=WHOLE,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE,
        suspend={"type": "boolean"},
        runtimeEnvYAML={"type": "string"},
        rayClusterSpec=CLUSTER,
    ),
)
