"""A cluster: a volume, a Job that does every stage, and for each model a Deployment and what belongs to one."""

from llmrecipe.plan import Plan
from llmrecipe.targets.base import Files, TargetError, vllm_services
from llmrecipe.targets.kubernetes.serving import serving
from llmrecipe.targets.kubernetes.training import training
from llmrecipe.targets.kubernetes.volume import volume_claim
from llmrecipe.targets.yaml_text import yaml_text


def render(plan: Plan, root: str = ".") -> Files:
    """`kubernetes/10-storage.yaml`, `20-run.yaml` and `30-serve-SERVICE.yaml`, to be applied in this order.

    `root` does not matter: in the cluster the recipe's folder is the volume.

    Raises:
        TargetError: the plan has no stage, is too large for a ConfigMap, or has an option that vLLM does not have.
    """
    if not plan.stages:
        raise TargetError("the recipe has nothing to run", "add `data` and `method`")
    head = f"Part of `{plan.name}`, written by llmrecipe; compile again instead of editing.\n"
    files = {
        "kubernetes/10-storage.yaml": yaml_text([volume_claim(plan)], head + _STORAGE),
        "kubernetes/20-run.yaml": yaml_text(training(plan), head + _RUN),
    }
    for service in vllm_services(plan):
        files[f"kubernetes/30-serve-{service.name}.yaml"] = yaml_text(serving(plan, service), head + _SERVE)
    return files


_STORAGE = "Copy the data files into the volume before the run, under the paths that the recipe gives them."
_RUN = "Does every stage. A Job that was stopped goes on from its last checkpoint when it is made again."
_SERVE = "Apply when the Job is complete: the exported model is read from the volume."
