"""Suggests remedies for models that the inference server refuses, by its error text. Pure."""

from __future__ import annotations

import re

_AGAIN = "upload the model again"

#: (pattern of the reason, remedy): the first that matches. Texts of Triton and its backends, of
#: TensorRT, ONNX Runtime and PyTorch, as users report them.
_STEPS = (
    # NVIDIA/TensorRT#3130, triton-inference-server/server#6064
    (
        r"engine plan file|serialization version|incompatible device|Version tag does not match"
        r"|deserializ\w+ .*engine|unable to (create|load) (TensorRT|plan)",
        "the TensorRT plan was built by another version of TensorRT or for another GPU: build it"
        " on this device, with the TensorRT version of the image in inference.image (NVIDIA's"
        f" release notes of Triton name it), and {_AGAIN}",
    ),
    # triton-inference-server/server#7445, #4200
    (
        r"unable to find.*(libtriton_|backend library|/model\.py)|unable to find a backend",
        "the image in inference.image has no such backend: correct `platform` or `backend` in"
        " config.pbtxt, or name an image that has it",
    ),
    (
        r"out of memory|failed to allocate|cudaMalloc|CUBLAS_STATUS_ALLOC",
        "the memory of the GPU is used up: lower inference.model_limit, or `instance_group` in"
        " config.pbtxt, or end what else uses the GPU",
    ),
    # onnx/models#569
    (
        r"Protobuf parsing failed|InvalidProtobuf|PytorchStreamReader|central directory"
        r"|Unable to parse",
        "the file of the weights is damaged, half, or of another format than config.pbtxt says: get"
        f" it again from where it came and {_AGAIN}",
    ),
    (
        r"(opset|IR) version|Opset \d+|unsupported .*opset",
        "the ONNX file is newer than the image in inference.image: export it with an older opset,"
        " or name a newer image",
    ),
    (
        r"ModuleNotFoundError|No module named|ImportError",
        "the image in inference.image lacks a Python package that the model imports: name an image"
        " that has it",
    ),
    (
        r"no version is available|failed to poll",
        "see whether each version's folder holds the file that the backend asks for (model.onnx,"
        " model.plan, model.pt, model.py, or `default_model_filename`), and whether"
        f" `version_policy` names versions that are there; then {_AGAIN}",
    ),
)


def step(reason: str) -> str:
    """Returns the remedy for a refusal; "" if its text is unknown."""
    for pattern, advice in _STEPS:
        if re.search(pattern, reason, re.IGNORECASE):
            return advice
    return ""
