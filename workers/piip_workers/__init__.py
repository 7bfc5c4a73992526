"""Measures what `piip_search` proposes: trains proxies, proves exports, trains chosen designs in full."""

from piip_search.former_names import import_by_former_names

FORMER = {
    "piip_workers.annotations": "piip_workers.tasks.detection.annotations",
    "piip_workers.backbone": "piip_workers.tasks.detection.backbone",
    "piip_workers.data": "piip_workers.tasks.detection.data",
    "piip_workers.detectors": "piip_workers.tasks.detection.detectors",
    "piip_workers.layer_decay": "piip_workers.mmlab.layer_decay",
    "piip_workers.metric": "piip_workers.tasks.detection.metric",
    "piip_workers.reading": "piip_workers.tasks.detection.images",
    "piip_workers.served": "piip_workers.networks.mlflow_model",
    "piip_workers.tasks.detection.layer_decay": "piip_workers.mmlab.layer_decay",
    "piip_workers.training": "piip_workers.tasks.detection.proxy_training",
}
"""Former module names, which exports, registered models and programs still use, and the present ones."""

import_by_former_names(FORMER)
