"""Measures the time to read, check and order a definition of 200 operators.

`python -m tests.bench.definition [OPERATORS]`. The goal is 200 operators in under 300 ms.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.checks.load import load
from claraedge.pipelines.export.drawing import levels
from claraedge.pipelines.export.render import definition
from claraedge.pipelines.model import DefinitionFile, Pipeline, decode, encode

ROUNDS = 21

HEAD = """\
api-version: 0.5.0
name: bench
description: As large as no real one.
orchestrator: Clara
pull-secrets: [ngc-clara]
parameters: {TAG: 0.8.1-2108.1, TRACE: 2}
operators:
"""
OPERATOR = """\
- name: operator-{n}
  description: One of many.
  container:
    image: nvcr.io/nvidia/clara/ai-segmentation
    tag: ${{{{ TAG }}}}
    command: [python, -u, main.py, "--number={n}"]
  requests: {{memory: 2048, gpu: 1}}
  variables: {{CLARA_TRACE: "${{{{ TRACE }}}}", MODEL: model-{n}}}
  models: [{{name: model-{n}}}]
  input:
  - {{name: study, type: stream, element-type: dicom, path: /study}}
{inputs}  output:
  - {{name: mask, type: stream, element-type: mhd, path: /mask}}
  - {{name: volume, type: array, element-type: float32, shape: [512, 512, -1]}}
{order}"""
SERVICE = """\
  services:
  - import: {path: services/trtis.yaml}
"""
TRTIS = """\
name: trtis
container: {image: nvcr.io/nvidia/tritonserver, tag: 20.07-v1-py3, command: [tritonserver]}
connections: {http: [{name: NVIDIA_CLARA_TRTISURI}]}
"""


def files(count: int) -> list[DefinitionFile]:
    """Returns a definition whose operators each read two values of others and wait for a third.

    Some of them use a service.
    """
    text = HEAD
    for n in range(count):
        inputs = order = ""
        if n:
            near, far = n - 1, n // 2
            inputs = (
                f"  - {{name: mask, from: operator-{near}, type: stream, element-type: mhd,"
                " path: /mask-in}\n"
                f"  - {{name: volume, from: operator-{far}, type: array, element-type: float32,"
                " shape: [512, 512, -1]}\n"
            )
            order = f"  order: [operator-{n // 3}]\n"
        if n % 10 == 0:
            order += SERVICE
        text += OPERATOR.format(n=n, inputs=inputs, order=order)
    return [
        DefinitionFile(path="pipeline.yaml", content=text),
        DefinitionFile(path="services/trtis.yaml", content=TRTIS),
    ]


def median(what: str, call: Callable[[], object]) -> None:
    """Prints the median and the maximum time of a call, in milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    print(f"{what:24} {statistics.median(taken):8.1f} ms, at most {max(taken):.1f} ms")


def main(count: int) -> None:
    sent = files(count)
    device = Device(cores=8, memory=32768, gpus=1)

    def loaded() -> Pipeline:
        found = load(sent, {"TRACE": "3"}, final=True, device=device)
        assert found.problems == (), found.problems[:3]
        assert found.pipeline is not None
        return found.pipeline

    pipeline = loaded()
    snapshot = encode(pipeline)
    size = sum(len(file.content) for file in sent)
    print(f"{count} operators, {size >> 10} KiB of text, {len(snapshot) >> 10} KiB as a snapshot")
    median("read, check and order", lambda: list(loaded().sorter().static_order()))
    median("read back a snapshot", lambda: decode(snapshot))
    median("levels of the graph", lambda: levels(pipeline))
    median("render", lambda: definition(pipeline))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
