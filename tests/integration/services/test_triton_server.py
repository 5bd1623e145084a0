"""The product's default inference server, where this machine has its image; else skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.config import InferenceSettings
from claraedge.errors import ModelNotReadyError
from claraedge.ids import new_id
from claraedge.services.inference.triton import Triton
from tests.integration.services.device import device, pipeline

pytestmark = pytest.mark.triton

_MODEL = """
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        return [utils.InferenceResponse([]) for _ in requests]
"""
_CONFIG = """
name: "NAME"
backend: "python"
input [{name: "x", data_type: TYPE_FP32, dims: [1]}]
output [{name: "y", data_type: TYPE_FP32, dims: [1]}]
instance_group [{kind: KIND_CPU}]
"""


async def test_triton_loads_unloads_and_refuses_models(tmp_path: Path, other_folder: Path) -> None:
    settings = InferenceSettings()
    own = {"image": settings.image, "command": settings.command, "model_limit": 1}
    async with device(tmp_path, other_folder, new_id(), inference=own) as made:
        if await made.runner.find_image(settings.image) is None:
            pytest.skip(f"the image {settings.image} is not here: `podman pull` gets it (6 GB)")
        for name in ("first", "second"):
            config = _CONFIG.replace("NAME", name)
            await made.store(name, "w", config=config, **{"model.py": _MODEL})
        await made.store("broken", "w", config=_CONFIG.replace("NAME", "broken"))
        try:
            for name, other in (("first", "second"), ("second", "first")):
                lease = await made.services.acquire(name, pipeline("", models=(name,)))
                (server,) = made.services._companions.living
                triton = Triton(made.runner, str(server.container), str(lease.triton), 8000)
                assert await triton.has_ready(name)
                assert not await triton.has_ready(other)
                assert await triton.loaded() == {name}
                await made.services.release(name)
            with pytest.raises(ModelNotReadyError, match="does not load the model broken"):
                await made.services.acquire("broken", pipeline("", models=("broken",)))
        finally:
            await made.services.stop()
            await made.until_nothing_is_left()
