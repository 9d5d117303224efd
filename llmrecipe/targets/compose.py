"""One machine with Docker: vLLM servers, one per replica, and nginx in front of those of each model."""

from typing import Any

from llmrecipe import facts
from llmrecipe.plan import Plan, Service
from llmrecipe.targets import capacity
from llmrecipe.targets.base import Files, served
from llmrecipe.targets.local import model_folder, served_folder
from llmrecipe.targets.nginx import LISTEN, nginx_conf
from llmrecipe.targets.vllm import config_text, drain_seconds, key_variable
from llmrecipe.targets.yaml_text import yaml_text

NGINX_IMAGE = "nginx:1.28.0-alpine"
NGINX_USER = "101:101"
"""The user `nginx` of that image."""

Node = dict[str, Any]


def render(plan: Plan, root: str = ".") -> Files:
    """`compose/compose.yaml`, and for each server `SERVICE.yaml` and `SERVICE.nginx.conf` beside it.

    Raises:
        TargetError: nothing is served by vLLM, or an option is not one of `vllm serve`.
    """
    services: Node = {}
    files: Files = {}
    secrets: Node = {}
    first_device = 0
    for service in served(plan, "compose"):
        replicas = [f"{service.name}-{i}" for i in range(service.replicas)]
        for name in replicas:
            services[name] = _server(plan, service, root, first_device)
            first_device += service.resources.accelerators
        services[service.name] = _proxy(service, replicas)
        if service.api_key is not None:
            secrets[f"{service.name}-api-key"] = {"environment": key_variable(service)}
        files[f"compose/{service.name}.yaml"] = config_text(service, "0.0.0.0")
        addresses = [f"{name}:{service.port}" for name in replicas]
        files[f"compose/{service.name}.nginx.conf"] = nginx_conf(addresses, drain_seconds(service))
    content = {"name": plan.name, "services": services} | ({"secrets": secrets} if secrets else {})
    return {"compose/compose.yaml": yaml_text([content], _comment(plan))} | files


def _server(plan: Plan, service: Service, root: str, first_device: int) -> Node:
    folder = served_folder(plan, service)
    base = root if root.startswith("/") else f"../{root}"
    found: Node = {
        "image": service.image,
        "entrypoint": ["vllm", "serve"],
        "command": ["/model", "--config", "/etc/vllm/config.yaml", *_adapter_words(service)],
        "environment": {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        "volumes": [
            _mount(f"${{LLMRECIPE_ROOT:-{base}}}/{folder}", "/model"),
            _mount(f"./{service.name}.yaml", "/etc/vllm/config.yaml"),
            *(
                _mount(f"${{LLMRECIPE_ROOT:-{base}}}/{model_folder(plan, reference)}", f"/adapters/{name}")
                for name, reference in service.adapters.items()
            ),
        ],
        "shm_size": f"{capacity.shared_memory_gib(service.resources.accelerators)}gb",
        "healthcheck": {
            "test": ["CMD", "python3", "-c", _HEALTH.format(port=service.port)],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
            "start_period": f"{capacity.start_seconds(service)}s",
        },
        "stop_grace_period": f"{drain_seconds(service) + capacity.STOP_MARGIN_SECONDS}s",
        "restart": "unless-stopped",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    if service.api_key is not None:
        # vLLM reads its key from the environment; a secret is a file, which `docker inspect` does not show.
        found["entrypoint"] = ["/bin/sh", "-c", _WITH_KEY.format(service=service.name), "vllm"]
        found["secrets"] = [f"{service.name}-api-key"]
    if service.resources.accelerators:
        found["deploy"] = _devices(service, first_device)
    return found


def _adapter_words(service: Service) -> list[str]:
    """Further words of the command: each adapter and where it is mounted."""
    return ["--lora-modules", *(f"{name}=/adapters/{name}" for name in service.adapters)] if service.adapters else []


_HEALTH = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
_WITH_KEY = 'VLLM_API_KEY="$$(cat /run/secrets/{service}-api-key)" exec vllm serve "$$@"'


def _devices(service: Service, first: int) -> Node:
    """Replicas share a machine, so that each one names its devices: a count would give all of them the first."""
    ids = [str(first + i) for i in range(service.resources.accelerators)]
    resource = facts.accelerators()[service.resources.accelerator].resource or "nvidia.com/gpu"
    device = {"driver": resource.partition(".")[0], "device_ids": ids, "capabilities": ["gpu"]}
    return {"resources": {"reservations": {"devices": [device]}}}


def _proxy(service: Service, replicas: list[str]) -> Node:
    return {
        "image": NGINX_IMAGE,
        "user": NGINX_USER,
        "depends_on": {name: {"condition": "service_healthy", "restart": True} for name in replicas},
        "ports": [f"${{BIND_ADDRESS:-127.0.0.1}}:{service.port}:{LISTEN}"],
        "volumes": [_mount(f"./{service.name}.nginx.conf", "/etc/nginx/nginx.conf")],
        "tmpfs": ["/tmp"],
        "healthcheck": {
            "test": ["CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{LISTEN}/health"],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
        },
        "stop_signal": "SIGQUIT",
        "stop_grace_period": f"{drain_seconds(service) + capacity.STOP_MARGIN_SECONDS}s",
        "restart": "unless-stopped",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _mount(source: str, target: str) -> Node:
    """A read-only mount that fails when its source is missing, where the short form would make an empty folder."""
    bind = {"create_host_path": False}
    return {"type": "bind", "source": source, "target": target, "read_only": True, "bind": bind}


def _comment(plan: Plan) -> str:
    return (
        f"Servers of `{plan.name}`, written by llmrecipe; compile again instead of editing.\n"
        "Run the recipe first: the exported models are mounted from its store.\n"
        "\n"
        "LLMRECIPE_ROOT  the recipe's folder, in which .llmrecipe is\n"
        "BIND_ADDRESS    where the API listens (127.0.0.1: this machine alone)"
    )
