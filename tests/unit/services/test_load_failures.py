"""The message of a job where the inference server does not load its model."""

from __future__ import annotations

import pytest
from service_device import ServiceDevice, using

from claraedge.errors import ModelNotReadyError
from claraedge.services.inference.load_failures import step


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (
            "load failed for model 'lung': version 1 is at UNAVAILABLE state: Internal: unable to"
            " load plan file to auto complete config: /models/lung/1/model.plan;",
            "build it on this device",
        ),
        (
            "The engine plan file is generated on an incompatible device, expecting compute 7.5 got"
            " compute 8.6, please rebuild.",
            "build it on this device",
        ),
        (
            "Invalid argument: unable to find backend library for backend 'onnxruntime', try"
            " specifying runtime on the model configuration.",
            "no such backend",
        ),
        ("unable to find 'libtriton_tensorrt_plan.so' for model 'm'", "no such backend"),
        ("onnx runtime error 7: Load model from m.onnx failed:Protobuf parsing failed.", "damaged"),
        (
            "PytorchStreamReader failed reading zip archive: failed finding central directory",
            "half",
        ),
        ("ModuleNotFoundError: No module named 'torch'", "lacks a Python package"),
        ("Unsupported model IR version: 10, max supported IR version: 9", "older opset"),
        ("CUDA error: out of memory", "memory of the GPU is used up"),
        ("failed to load 'm', no version is available", "`version_policy`"),
        ("something that nobody has seen", ""),
    ],
)
def test_known_reasons_come_with_a_step(reason: str, advice: str) -> None:
    assert advice in step(reason)
    assert bool(step(reason)) == bool(advice)


async def test_the_error_of_a_job_has_the_reason_the_step_and_the_log(
    device: ServiceDevice,
) -> None:
    await device.store("m", fail="unable to find backend library for backend 'foo'")
    async with device.daemon() as services:
        with pytest.raises(ModelNotReadyError) as raised:
            await services.acquire("one", using(models=("m",)))
    text = str(raised.value)
    assert text.startswith("the inference server does not load the model m: unable to find backend")
    assert "correct `platform` or `backend` in config.pbtxt" in text
    assert text.endswith("inference.log")
