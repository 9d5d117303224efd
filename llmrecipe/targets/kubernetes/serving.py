"""A vLLM server in a cluster: Deployment, Service, and what keeps it up, closed, and replaced without a lost answer."""

import math

from llmrecipe.plan import Plan, Service
from llmrecipe.targets import capacity
from llmrecipe.targets.kubernetes.pod import (
    Node,
    container_resources,
    container_security,
    digest,
    labels,
    placement,
    pod_security,
    scratch_environment,
    scratch_mounts,
    scratch_volumes,
    selector,
    service_account,
)
from llmrecipe.targets.kubernetes.volume import MOUNTED, claim_name
from llmrecipe.targets.local import served_folder
from llmrecipe.targets.vllm import config_text, drain_seconds, key_variable

PROBE_SECONDS = 10
"""Between two questions whether a server is well."""
CONFIG = "/etc/vllm"


def serving(plan: Plan, service: Service) -> list[Node]:
    """ConfigMap, ServiceAccount, Deployment, Service, PodDisruptionBudget and NetworkPolicy of one model.

    Raises:
        TargetError: an option is not one of `vllm serve`.
    """
    text = config_text(service, "0.0.0.0")
    config_map = f"{service.name}-vllm-{digest(text)}"
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": config_map, "labels": _labels(plan, service)},
            "immutable": True,
            "data": {"config.yaml": text},
        },
        service_account(plan, "vllm", service.name),
        _deployment(plan, service, config_map),
        _service(plan, service),
        _disruption_budget(plan, service),
        _network_policy(plan, service),
    ]


def _labels(plan: Plan, service: Service) -> dict[str, str]:
    return labels(plan, "vllm", service.name)


def _selector(service: Service) -> dict[str, str]:
    return selector("vllm", service.name)


def _deployment(plan: Plan, service: Service, config_map: str) -> Node:
    stop = capacity.stop_seconds(drain_seconds(service))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": service.name, "labels": _labels(plan, service)},
        "spec": {
            "replicas": service.replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": capacity.start_seconds(service) + stop,
            "selector": {"matchLabels": _selector(service)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": _labels(plan, service)},
                "spec": _pod(plan, service, config_map, stop),
            },
        },
    }


def _pod(plan: Plan, service: Service, config_map: str, stop: int) -> Node:
    return {
        "serviceAccountName": service.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": stop,
        "securityContext": pod_security(),
        **placement(service.resources),
        **_apart(service),
        "containers": [_container(plan, service)],
        "volumes": [
            {"name": "config", "configMap": {"name": config_map}},
            {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(plan), "readOnly": True}},
            *scratch_volumes(service.resources),
        ],
    }


def _apart(service: Service) -> Node:
    """Replicas on different nodes, where there are enough."""
    if service.replicas == 1:
        return {}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _selector(service)},
    }
    return {"topologySpreadConstraints": [spread]}


def _container(plan: Plan, service: Service) -> Node:
    return {
        "name": "vllm",
        "image": service.image,
        "command": ["vllm", "serve"],
        "args": [f"{MOUNTED}/{served_folder(plan, service)}", "--config", f"{CONFIG}/config.yaml"],
        "env": [
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
            *scratch_environment(),
            *_key(service),
        ],
        "ports": [{"name": "http", "containerPort": service.port, "protocol": "TCP"}],
        "resources": container_resources(service.resources, capacity.host_memory(service)),
        **_probes(service),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(capacity.LEAVE_SECONDS)]}}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": "data", "mountPath": MOUNTED, "readOnly": True},
            *scratch_mounts(),
        ],
    }


def _probes(service: Service) -> Node:
    """Nothing but the start is given time: a server that is up answers within seconds, or has hung."""
    health = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PROBE_SECONDS, "timeoutSeconds": 5}
    attempts = math.ceil(capacity.start_seconds(service) / PROBE_SECONDS)
    return {
        "startupProbe": health | {"failureThreshold": attempts},
        "livenessProbe": health | {"timeoutSeconds": 10, "failureThreshold": 6},
        "readinessProbe": health | {"failureThreshold": 3},
    }


def _key(service: Service) -> list[Node]:
    """The key of the clients, from a Secret that somebody makes: it never stands in a file."""
    if service.api_key is None:
        return []
    reference = {"name": f"{service.name}-api-key", "key": key_variable(service)}
    return [{"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": reference}}]


def _service(plan: Plan, service: Service) -> Node:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "labels": _labels(plan, service)},
        "spec": {
            "type": "ClusterIP",
            "selector": _selector(service),
            "ports": [{"name": "http", "port": service.port, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _disruption_budget(plan: Plan, service: Service) -> Node:
    """One server at a time may be moved; a single one too, or its node could never be drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": service.name, "labels": _labels(plan, service)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(service)}},
    }


def _network_policy(plan: Plan, service: Service) -> Node:
    """Clients reach the API's port; the server reaches nothing, as its model is on its disk."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": service.name, "labels": _labels(plan, service)},
        "spec": {
            "podSelector": {"matchLabels": _selector(service)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": "http", "protocol": "TCP"}]}],
            "egress": [],
        },
    }
