"""Manifests against real schemas, and against what these do not say; each check is shown a fault that it must find."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import goldens
import kubernetes_validate
import pytest
import yaml
from goldens import CLUSTER, PIPELINE, SCRATCH

from llmrecipe.cli import PREEMPTED
from llmrecipe.targets import capacity

VERSION = "1.32"
Node = dict[str, Any]


def manifests(recipe: Path) -> list[Node]:
    """Every object that a recipe compiles to for Kubernetes."""
    files = goldens.compiled(recipe, "kubernetes")
    return [item for path, text in files.items() if path.endswith(".yaml") for item in yaml.safe_load_all(text)]


def compose(recipe: Path) -> dict[str, str]:
    return goldens.compiled(recipe, "compose")


DEPLOYED = [recipe for recipe in goldens.recipes() if "refused.txt" not in goldens.compiled(recipe, "kubernetes")]
COMPOSED = [recipe for recipe in goldens.recipes() if "refused.txt" not in goldens.compiled(recipe, "compose")]


# -- what schemas say --


@pytest.mark.parametrize("recipe", DEPLOYED, ids=goldens.name)
def test_every_object_is_one_that_kubernetes_takes(recipe):
    for item in manifests(recipe):
        kubernetes_validate.validate(item, VERSION, strict=True)


def kind(items: list[Node], wanted: str) -> Node:
    return next(item for item in items if item["kind"] == wanted)


def _misspell(items: list[Node]) -> Node:
    found = kind(items, "Deployment")
    found["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    return found


def _retype(items: list[Node]) -> Node:
    found = kind(items, "Job")
    found["spec"]["backoffLimit"] = "3"
    return found


def _unknown_kind(items: list[Node]) -> Node:
    return kind(items, "Service") | {"kind": "Sevrice"}


@pytest.mark.parametrize("break_it", [_misspell, _retype, _unknown_kind])
def test_the_checker_finds_a_fault(break_it):
    item = break_it(copy.deepcopy(manifests(PIPELINE)))
    with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
        kubernetes_validate.validate(item, VERSION, strict=True)


def check_compose(folder: Path, texts: list[str]) -> subprocess.CompletedProcess[str]:
    for number, text in enumerate(texts):
        (folder / f"{number}.yaml").write_text(text)
    checker = Path(sys.executable).with_name("check-jsonschema")
    words = [checker, "--builtin-schema", "vendor.compose-spec", *sorted(folder.glob("*.yaml"))]
    return subprocess.run(words, capture_output=True, text=True)


def test_every_compose_file_is_one(tmp_path):
    checked = check_compose(tmp_path, [compose(recipe)["compose/compose.yaml"] for recipe in COMPOSED])
    assert COMPOSED
    assert checked.returncode == 0, checked.stdout


def test_the_compose_checker_finds_a_fault(tmp_path):
    text = compose(PIPELINE)["compose/compose.yaml"].replace("shm_size:", "shm:")
    checked = check_compose(tmp_path, [text])
    assert checked.returncode == 1
    assert "'shm' was unexpected" in checked.stdout


# -- what an API server would say, and what nobody would --


def problems(items: list[Node]) -> Iterator[str]:
    """What is wrong with objects that are applied together."""
    names = {(item["kind"], item["metadata"]["name"]) for item in items}
    if len(names) != len(items):
        yield "two objects of one kind and name"
    for item in items:
        name = item["metadata"]["name"]
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) or len(name) > 63:
            yield f"{name} cannot be a name"
        if item["kind"] in ("Deployment", "Job"):
            yield from _workload_problems(item, names)
        if item["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            yield from _selection_problems(item, items)


def _workload_problems(item: Node, names: set[tuple[str, str]]) -> Iterator[str]:
    template = item["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    if "selector" in item["spec"] and not item["spec"]["selector"]["matchLabels"].items() <= labels.items():
        yield "the selector does not match the labels of the template"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    if ("ServiceAccount", pod["serviceAccountName"]) not in names:
        yield "the service account is missing"
    for volume in volumes.values():
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
            yield "the ConfigMap is missing"
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and ("PersistentVolumeClaim", claim) not in names:
            yield "the claim is missing"
    for container in pod["containers"]:
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        if mounted - volumes.keys():
            yield "a mount without a volume"
        if volumes.keys() - mounted:
            yield "a volume that nobody mounts"
        yield from _container_problems(container)
    yield from _security_problems(pod)


def _container_problems(container: Node) -> Iterator[str]:
    ports = {port["name"] for port in container.get("ports", [])}
    if any(len(port) > 15 for port in ports):
        yield "a port's name of more than 15 characters"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe in container and container[probe]["httpGet"]["port"] not in ports:
            yield f"{probe} asks a port that is not there"
    if ":" not in container["image"] or container["image"].endswith(":latest"):
        yield "an image without a version"
    limits, requests = container["resources"].get("limits", {}), container["resources"]["requests"]
    if any(requests.get(name) != amount for name, amount in limits.items()):
        yield "a limit that is not asked for"
    for variable in container["env"]:
        if re.search("KEY|TOKEN|PASSWORD|SECRET", variable["name"]) and "value" in variable:
            yield "a secret in a file"


def _security_problems(pod: Node) -> Iterator[str]:
    wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if not wanted.items() <= pod["securityContext"].items() or pod["automountServiceAccountToken"] is not False:
        yield "a pod with more rights than it needs"
    for container in pod["containers"]:
        security = container["securityContext"]
        if not security["readOnlyRootFilesystem"] or security["capabilities"] != {"drop": ["ALL"]}:
            yield "a container with more rights than it needs"
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        if any(
            path not in mounts or "emptyDir" not in volumes[mounts[path]] for path in ("/tmp", "/cache", "/dev/shm")
        ):
            yield "a folder that must be written to and cannot be"


def _selection_problems(item: Node, items: list[Node]) -> Iterator[str]:
    spec = item["spec"]
    wanted = (
        spec["selector"] if item["kind"] == "Service" else spec.get("selector", spec.get("podSelector"))["matchLabels"]
    )
    workloads = [other["spec"]["template"] for other in items if other["kind"] in ("Deployment", "Job")]
    chosen = [template for template in workloads if wanted.items() <= template["metadata"]["labels"].items()]
    if len(chosen) != 1:
        yield f"{item['kind']} selects {len(chosen)} workloads"
        return
    ports = {port["name"] for container in chosen[0]["spec"]["containers"] for port in container.get("ports", [])}
    named = [port["targetPort"] for port in spec["ports"]] if item["kind"] == "Service" else []
    named += [port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])]
    if any(isinstance(port, str) and port not in ports for port in named):
        yield f"{item['kind']} leads to a port that is not there"


@pytest.mark.parametrize("recipe", DEPLOYED, ids=goldens.name)
def test_the_objects_fit_together(recipe):
    assert list(problems(manifests(recipe))) == []


def _pod(items: list[Node]) -> Node:
    return kind(items, "Deployment")["spec"]["template"]["spec"]


def _container(items: list[Node]) -> Node:
    return _pod(items)["containers"][0]


FAULTS: dict[str, Callable[[list[Node]], object]] = {
    "two objects of one kind and name": lambda i: i.append(i[0]),
    "answers_ cannot be a name": lambda i: kind(i, "Service")["metadata"].update(name="answers_"),
    "the selector does not match": lambda i: kind(i, "Deployment")["spec"]["selector"]["matchLabels"].update(a="b"),
    "the service account is missing": lambda i: _pod(i).update(serviceAccountName="default"),
    "the ConfigMap is missing": lambda i: i.remove(kind(i, "ConfigMap")),
    "the claim is missing": lambda i: i.remove(kind(i, "PersistentVolumeClaim")),
    "a mount without a volume": lambda i: _pod(i)["volumes"].pop(),
    "a volume that nobody mounts": lambda i: _pod(i)["volumes"].append({"name": "more"}),
    "a port's name of more than 15": lambda i: _container(i)["ports"].append({"name": "sixteen-letters-"}),
    "startupProbe asks a port": lambda i: _container(i)["startupProbe"].update(httpGet={"port": "htpp"}),
    "an image without a version": lambda i: _container(i).update(image="vllm/vllm-openai"),
    "a limit that is not asked for": lambda i: _container(i)["resources"].update(limits={"nvidia.com/gpu": "1"}),
    "a secret in a file": lambda i: _container(i)["env"].append({"name": "VLLM_API_KEY", "value": "x"}),
    "a pod with more rights": lambda i: _pod(i).update(automountServiceAccountToken=True),
    "a container with more rights": lambda i: _container(i)["securityContext"].update(capabilities={}),
    "a folder that must be written to": lambda i: _container(i)["volumeMounts"][-1].update(mountPath="/shm"),
    "Service selects 0 workloads": lambda i: kind(i, "Service")["spec"]["selector"].update(a="b"),
    "Service leads to a port": lambda i: kind(i, "Service")["spec"]["ports"][0].update(targetPort="htpp"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault):
    items = copy.deepcopy(manifests(PIPELINE))
    FAULTS[fault](items)
    assert any(problem.startswith(fault) for problem in problems(items)), list(problems(items))


# -- what a deployment must do --


def test_a_server_has_time_to_start_and_to_end_its_answers():
    service = goldens.plan(CLUSTER).services[0]
    deployment = kind(manifests(CLUSTER), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= capacity.start_seconds(service)
    assert deployment["spec"]["progressDeadlineSeconds"] > capacity.start_seconds(service)
    leave = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    config = yaml.safe_load(kind(_serving(CLUSTER), "ConfigMap")["data"]["config.yaml"])
    assert pod["terminationGracePeriodSeconds"] > leave + config["shutdown-timeout"]


def _serving(recipe: Path) -> list[Node]:
    files = goldens.compiled(recipe, "kubernetes")
    return [item for path in files if "/30-" in path for item in yaml.safe_load_all(files[path])]


def test_the_server_reads_what_the_job_writes():
    items = manifests(PIPELINE)
    job = kind(items, "Job")["spec"]["template"]["spec"]
    pod = kind(items, "Deployment")["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"]["claimName"] for p in (job, pod) for v in p["volumes"] if v["name"] == "data"]
    assert claims == ["answers-store", "answers-store"]
    root = next(v["value"] for v in job["containers"][0]["env"] if v["name"] == "LLMRECIPE_ROOT")
    address = goldens.plan(PIPELINE).addresses()["answers/export"]
    assert pod["containers"][0]["args"][0] == f"{root}/.llmrecipe/artifacts/{address}/model"
    assert next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "data")["readOnly"] is True


def test_the_job_gets_the_files_of_the_script_under_their_paths():
    items = manifests(PIPELINE)
    data = kind(items, "ConfigMap")["data"]
    volume = kind(items, "Job")["spec"]["template"]["spec"]["volumes"][0]
    files = {item["path"]: data[item["key"]] for item in volume["configMap"]["items"]}
    local = goldens.compiled(PIPELINE, "local")
    assert files.keys() == local.keys() - {"plan.json"}
    assert all(files[path] == local[path] for path in files if path != "run.sh")


def test_the_key_is_a_reference():
    container = kind(manifests(PIPELINE), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    reference = {"name": "answers-api-key", "key": "ANSWERS_KEY"}
    assert {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": reference}} in container["env"]
    assert not [item for item in manifests(PIPELINE) if item["kind"] == "Secret"]


def test_several_nodes_find_the_first_one():
    items = manifests(CLUSTER)
    job, service = kind(items, "Job"), kind(items, "Service")
    pod = job["spec"]["template"]["spec"]
    environment = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    assert pod["subdomain"] == service["metadata"]["name"]
    assert environment["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    claim = kind(items, "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "512Gi", "nvidia.com/gpu": "8"}


def test_the_token_of_the_hub_is_asked_for_only_where_the_hub_is():
    def has_token(recipe: Path) -> bool:
        container = kind(manifests(recipe), "Job")["spec"]["template"]["spec"]["containers"][0]
        return "HF_TOKEN" in {variable["name"] for variable in container["env"]}

    assert has_token(CLUSTER)
    assert not has_token(SCRATCH)


def test_another_plan_is_another_job():
    plan = goldens.plan(SCRATCH)
    other = plan.model_copy(update={"packages": plan.packages | {"torch": "2.0.0"}})
    target = goldens.TARGETS["kubernetes"]
    names = [
        {item["metadata"]["name"] for item in yaml.safe_load_all(target.render(p)["kubernetes/20-run.yaml"])
         if item["kind"] in ("Job", "ConfigMap")}
        for p in (plan, other)
    ]  # fmt: skip
    assert len(names[0]) == 1
    assert names[0].isdisjoint(names[1])


def _moved(path: str) -> Any:
    return json.loads(goldens.plan(SCRATCH).model_dump_json().replace("data/rhymes.txt", path))


@pytest.mark.parametrize("path", ["../rhymes.txt", "/srv/rhymes.txt"])
def test_a_file_that_pods_would_not_see_is_refused(path):
    plan = goldens.Plan.model_validate_json(json.dumps(_moved(path)))
    with pytest.raises(goldens.TargetError) as caught:
        goldens.TARGETS["kubernetes"].render(plan)
    assert caught.value.message == f"`{path}` is outside of the recipe's folder, which is all that the pods see"


def test_a_plan_that_does_not_fit_into_a_config_map_is_refused():
    plan = goldens.plan(SCRATCH)
    spec = plan.stages[0].spec
    source = spec.train[0]
    origin = source.origin.model_copy(update={"files": source.origin.files * 10_000})
    large = spec.model_copy(update={"train": [source.model_copy(update={"origin": origin})]})
    stages = [plan.stages[0].model_copy(update={"spec": large}), *plan.stages[1:]]
    with pytest.raises(goldens.TargetError, match="a Kubernetes ConfigMap holds 1,000,000"):
        goldens.TARGETS["kubernetes"].render(plan.model_copy(update={"stages": stages}))


# -- compose --


def compose_problems(content: Node, files: set[str]) -> Iterator[str]:
    """What is wrong with a compose file, beside what its schema says."""
    services, secrets = content["services"], content.get("secrets", {})
    devices: list[str] = []
    for service in services.values():
        if set(service.get("depends_on", {})) - services.keys():
            yield "a dependency that is not there"
        if set(service.get("secrets", [])) - secrets.keys():
            yield "a secret that is not there"
        if service.get("read_only") and service.get("secrets"):
            yield "a secret of the environment cannot be put into a read-only container"
        for volume in service["volumes"]:
            if volume["source"].startswith("./") and f"compose/{volume['source'][2:]}" not in files:
                yield "a file that is not there"
            if not volume["read_only"]:
                yield "a mount that can be written to"
        if ":" not in service["image"]:
            yield "an image without a version"
        if "healthcheck" not in service or "restart" not in service:
            yield "a service that nobody looks after"
        reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        devices += [device for entry in reserved for device in entry["device_ids"]]
    if len(devices) != len(set(devices)):
        yield "a device for two servers"


@pytest.mark.parametrize("recipe", COMPOSED, ids=goldens.name)
def test_the_services_fit_together(recipe):
    files = compose(recipe)
    assert list(compose_problems(yaml.safe_load(files["compose/compose.yaml"]), set(files))) == []


COMPOSE_FAULTS: dict[str, Callable[[Node], object]] = {
    "a dependency that is not there": lambda s: s.pop("cluster-0"),
    "a secret that is not there": lambda s: s["cluster-0"].update(secrets=["key"]),
    "a file that is not there": lambda s: s["cluster"]["volumes"][0].update(source="./nginx.conf"),
    "a mount that can be written to": lambda s: s["cluster"]["volumes"][0].update(read_only=False),
    "an image without a version": lambda s: s["cluster"].update(image="nginx"),
    "a service that nobody looks after": lambda s: s["cluster"].pop("restart"),
    "a device for two servers": lambda s: s["cluster-0"].update(deploy=s["cluster-1"]["deploy"]),
}


@pytest.mark.parametrize("fault", COMPOSE_FAULTS)
def test_a_fault_of_compose_is_found(fault):
    files = compose(CLUSTER)
    content = yaml.safe_load(files["compose/compose.yaml"])
    COMPOSE_FAULTS[fault](content["services"])
    assert fault in list(compose_problems(content, set(files)))


def test_compose_starts_nginx_behind_servers_that_answer():
    content = yaml.safe_load(compose(PIPELINE)["compose/compose.yaml"])
    proxy = content["services"]["answers"]
    assert {name: how["condition"] for name, how in proxy["depends_on"].items()} == {
        "answers-0": "service_healthy",
        "answers-1": "service_healthy",
    }
    assert proxy["ports"] == ["${BIND_ADDRESS:-127.0.0.1}:8080:8080"]
    server = content["services"]["answers-0"]
    start = capacity.start_seconds(goldens.plan(PIPELINE).services[0])
    assert server["healthcheck"]["start_period"] == f"{start}s"
    assert content["secrets"] == {"answers-api-key": {"environment": "ANSWERS_KEY"}}
    assert "server answers-1:8080" in compose(PIPELINE)["compose/answers.nginx.conf"]


def test_a_pod_that_was_preempted_is_replaced_without_counting_as_a_failure():
    rules = kind(manifests(SCRATCH), "Job")["spec"]["podFailurePolicy"]["rules"]
    assert {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [PREEMPTED]}} in rules


def test_metrics_of_a_training_can_be_asked_for_where_the_recipe_opens_them():
    items = manifests(CLUSTER)
    template, policy = kind(items, "Job")["spec"]["template"], kind(items, "NetworkPolicy")
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true", "prometheus.io/port": "9400", "prometheus.io/path": "/metrics",
    }  # fmt: skip
    [container] = template["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [9400]
    assert {"ports": [{"port": 9400, "protocol": "TCP"}]} in policy["spec"]["ingress"]
    closed = manifests(SCRATCH)
    assert "annotations" not in kind(closed, "Job")["spec"]["template"]["metadata"]
    assert len(kind(closed, "NetworkPolicy")["spec"]["ingress"]) == 1


def test_a_server_has_shared_memory_for_its_devices() -> None:
    """Docker and Kubernetes give a container 64 MB of it, with which processes of one server cannot talk."""
    service = yaml.safe_load(compose(PIPELINE)["compose/compose.yaml"])["services"]
    assert all(int(each["shm_size"].removesuffix("gb")) >= 1 for name, each in service.items() if "shm_size" in each)
    assert any("shm_size" in each for each in service.values())
