"""FSDP2 on processors, for tests alone: Accelerate takes the processes of gloo for those of accelerators.

`install` changes this process. `folder` makes a folder that, named in PYTHONPATH, does so in every Python that starts:
when `accelerate.state` is imported, and not before, since most of them never do.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "accelerate.state"


def _change(module: Any) -> None:
    torch, kinds, plain = module.torch, module.DistributedType, module.PartialState._prepare_backend

    def prepare_backend(self: Any, cpu: bool = False, sagemaker_dp: bool = False, backend: str | None = None) -> Any:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return plain(self, cpu, sagemaker_dp, backend)
        return "gloo", kinds.MULTI_GPU

    def set_device(self: Any) -> None:
        self.device = torch.device("cpu")

    module.PartialState._prepare_backend = prepare_backend
    module.PartialState.set_device = set_device


class _Loader(importlib.abc.Loader):
    def __init__(self, original: Any) -> None:
        self.original = original

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.original.exec_module(module)
        _change(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def install() -> None:
    """Change Accelerate in this process as soon as it is imported."""
    sys.meta_path.insert(0, _Finder())


def folder(path: Path) -> Path:
    """A folder for PYTHONPATH."""
    path.mkdir(parents=True, exist_ok=True)
    here = Path(__file__).parent
    text = f"import sys\nsys.path.append({str(here)!r})\nimport fsdp_on_processor\nfsdp_on_processor.install()\n"
    (path / "sitecustomize.py").write_text(text, encoding="utf-8")
    return path
