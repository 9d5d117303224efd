"""The Job that does every stage, by the script of the target `local`."""

from collections.abc import Iterator

from llmrecipe.plan import (
    DataSource,
    Evaluate,
    GenerationSuite,
    LocalModel,
    PinnedFiles,
    PinnedFunction,
    Plan,
    PreferenceAccuracySuite,
    PrepareData,
    Resources,
    Reward,
    RewardSuite,
    Spec,
    Train,
)
from llmrecipe.targets.base import Files, TargetError
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
from llmrecipe.targets.local import job_files, script

COMPILED = "/compiled"
"""Where the script, the jobs and the configurations are."""
CONFIG_MAP_BYTES = 1_000_000
"""Kubernetes takes 1 MiB in all."""
RETRIES = 3
"""Pods of one node that may fail before the Job has; evictions do not count."""
PREEMPTED = 75
"""Exit code of `run.sh` when SIGTERM has stopped it: everything is saved, and the next pod goes on."""
SAVE_SECONDS = 300
"""How long a stage may take to save a checkpoint when its pod is asked to stop."""
KEEP_SECONDS = 7 * 24 * 3600
"""How long a finished Job and its log stay."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only the machine itself reaches."""
PORT = 29500
"""Where the processes of several nodes meet."""


def training(plan: Plan) -> list[Node]:
    """ConfigMap, ServiceAccount, NetworkPolicy and Job; for several nodes a headless Service by which they meet.

    Raises:
        TargetError: the jobs do not fit into a ConfigMap, or a file is not in the recipe's folder.
    """
    _only_what_the_volume_holds(plan)
    files = {"run.sh": script(plan, "."), **job_files(plan)}
    size = sum(len(text.encode()) for text in files.values())
    if size > CONFIG_MAP_BYTES:
        message = f"the jobs take {size:,} bytes, and a Kubernetes ConfigMap holds {CONFIG_MAP_BYTES:,}"
        raise TargetError(message, "name fewer data files: parquet files hold many rows each")
    name = f"{plan.name}-run-{digest(*files, *files.values())}"
    resources = _resources(plan)
    found = [_config_map(plan, name, files), service_account(plan, "llmrecipe", f"{plan.name}-run")]
    found.append(_network_policy(plan))
    if resources.nodes > 1:
        found.append(_headless_service(plan, name))
    return [*found, _job(plan, name, files, resources)]


def _resources(plan: Plan) -> Resources:
    """What the hungriest stages ask for: one pod does them all."""
    stages = [stage.resources for stage in plan.stages]
    hungriest = max(stages, key=lambda resources: (resources.accelerators, resources.processes))
    return Resources(
        nodes=max(resources.nodes for resources in stages),
        accelerators=hungriest.accelerators,
        processes=max(resources.processes for resources in stages),
        accelerator=hungriest.accelerator,
        memory=max((resources.memory for resources in stages), key=_bytes),
    )


def _bytes(memory: str | None) -> int:
    return 0 if memory is None else int(memory[:-2]) * 1024 ** {"Mi": 2, "Gi": 3, "Ti": 4}[memory[-2:]]


def _only_what_the_volume_holds(plan: Plan) -> None:
    """Refuse local files that are not in the recipe's folder, which is all that pods see.

    Raises:
        TargetError: there is one.
    """
    for stage in plan.stages:
        recipe = stage.name.partition("/")[0]
        for path in _local_paths(stage.spec):
            if path.startswith(("/", "~", "../")):
                message = f"`{path}` is outside of the recipe's folder, which is all that the pods see"
                raise TargetError(message, "move it into the folder of the recipe, or name it by a URL", recipe)


def _local_paths(spec: Spec) -> Iterator[str]:
    model = getattr(spec, "model", None)
    for needed in (model, *getattr(spec, "models", {}).values()):
        if isinstance(needed, LocalModel):
            yield needed.path
    rewards: list[Reward] = getattr(getattr(spec, "suite", spec), "rewards", [])
    yield from (reward.file.path for reward in rewards if isinstance(reward, PinnedFunction))
    sources: list[DataSource] = []
    match spec:
        case PrepareData():
            sources = [*spec.train, *spec.validation]
        case Evaluate(suite=GenerationSuite() | PreferenceAccuracySuite() | RewardSuite() as suite):
            sources = suite.sources
    for source in sources:
        if isinstance(source.origin, PinnedFiles):
            yield from (file.path for file in source.origin.files)


def _key(path: str) -> str:
    return path.replace("/", "_")


def _config_map(plan: Plan, name: str, files: Files) -> Node:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": _labels(plan)},
        "immutable": True,
        "data": {_key(path): text for path, text in files.items()},
    }


def _labels(plan: Plan) -> dict[str, str]:
    return labels(plan, "llmrecipe", f"{plan.name}-run")


def _selector(plan: Plan) -> dict[str, str]:
    return selector("llmrecipe", f"{plan.name}-run")


def _network_policy(plan: Plan) -> Node:
    """Nobody reaches the run but its own pods and who asks for metrics; it reaches the Hub and object stores."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{plan.name}-run", "labels": _labels(plan)},
        "spec": {
            "podSelector": {"matchLabels": _selector(plan)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": _selector(plan)}}]},
                *({"ports": [{"port": port, "protocol": "TCP"}]} for port in _metrics_ports(plan)),
            ],
        },
    }


def _headless_service(plan: Plan, name: str) -> Node:
    """Gives each pod a name before it is ready: the others look for the first one while all of them start."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": _labels(plan)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _selector(plan),
            "ports": [{"name": "rendezvous", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    }


def _job(plan: Plan, name: str, files: Files, resources: Resources) -> Node:
    several = resources.nodes > 1
    spread = {"completionMode": "Indexed", "completions": resources.nodes, "parallelism": resources.nodes}
    evicted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    preempted = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [PREEMPTED]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": _labels(plan)},
        "spec": {
            **(spread if several else {}),
            "backoffLimit": RETRIES * resources.nodes,
            "podFailurePolicy": {"rules": [evicted, preempted]},
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "template": {
                "metadata": {"labels": _labels(plan), **_scraped(plan)},
                "spec": _pod(plan, name, files, resources),
            },
        },
    }


def _pod(plan: Plan, name: str, files: Files, resources: Resources) -> Node:
    items = [{"key": _key(path), "path": path} for path in files]
    return {
        "restartPolicy": "Never",
        "serviceAccountName": f"{plan.name}-run",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **({"subdomain": name} if resources.nodes > 1 else {}),
        "terminationGracePeriodSeconds": SAVE_SECONDS,
        "securityContext": pod_security(),
        **placement(resources),
        "containers": [_container(plan, name, resources)],
        "volumes": [
            {"name": "compiled", "configMap": {"name": name, "items": items}},
            {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(plan)}},
            *scratch_volumes(resources),
        ],
    }


def _container(plan: Plan, name: str, resources: Resources) -> Node:
    return {
        "name": "run",
        "image": f"llmrecipe:{plan.packages.get('llmrecipe', 'latest')}",
        "command": ["bash", f"{COMPILED}/run.sh"],
        "env": [
            {"name": "LLMRECIPE_ROOT", "value": MOUNTED},
            {"name": "PYTHONUNBUFFERED", "value": "1"},
            *scratch_environment(f"{MOUNTED}/.cache/huggingface"),
            *(_rendezvous(name) if resources.nodes > 1 else []),
            *([_TOKEN] if _uses_hub(plan) else []),
        ],
        **_open_ports(plan),
        "resources": container_resources(resources, resources.memory),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "compiled", "mountPath": COMPILED, "readOnly": True},
            {"name": "data", "mountPath": MOUNTED},
            *scratch_mounts(),
        ],
    }


def _metrics_ports(plan: Plan) -> list[int]:
    """Ports at which training metrics are open to others."""
    settings = [stage.spec.tracking.prometheus for stage in plan.stages if isinstance(stage.spec, Train)]
    return sorted({found.port for found in settings if found is not None and found.host not in LOOPBACK})


def _open_ports(plan: Plan) -> Node:
    ports = [{"name": f"metrics-{port}", "containerPort": port, "protocol": "TCP"} for port in _metrics_ports(plan)]
    return {"ports": ports} if ports else {}


def _scraped(plan: Plan) -> Node:
    """What Prometheus looks for at pods; it can be told of one port."""
    ports = _metrics_ports(plan)
    if not ports:
        return {}
    values = {"scrape": "true", "port": str(ports[0]), "path": "/metrics"}
    return {"annotations": {f"prometheus.io/{name}": value for name, value in values.items()}}


def _rendezvous(name: str) -> list[Node]:
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return [
        {"name": "MASTER_ADDR", "value": f"{name}-0.{name}"},
        {"name": "MASTER_PORT", "value": str(PORT)},
        {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}},
    ]


_TOKEN: Node = {
    "name": "HF_TOKEN",
    "valueFrom": {"secretKeyRef": {"name": "hugging-face", "key": "HF_TOKEN", "optional": True}},
}
"""Gated models and datasets need it; others do not, and the secret may be missing."""


def _uses_hub(plan: Plan) -> bool:
    """Whether a stage takes something from the Hub."""
    return '"kind":"hub"' in plan.model_dump_json()
