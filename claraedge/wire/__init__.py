"""Messages and stubs of the gRPC contract, generated from `protos/` by `hatch_build.py`.

Modules keep the path of their .proto file: `claraedge.wire.nvidia.clara.platform.jobs_pb2`,
`claraedge.wire.claraedge.v1.appliance_pb2_grpc`.
"""

from __future__ import annotations

from pathlib import Path

_REMEDY = "run: pip install -e .   (or, with its build tools installed: python hatch_build.py)"

try:
    from claraedge.wire import _stamp
except ImportError as error:
    raise ImportError(f"the gRPC stubs have not been built; {_REMEDY}") from error

# Only a source tree has the folder next to the package; other forms stop after one stat.
_protos = Path(__file__).resolve().parents[2] / "protos"
if (_protos / "claraedge" / "v1" / "appliance.proto").is_file() and (
    _stamp.protos_digest(_protos) != _stamp.DIGEST
):
    raise ImportError(f"the gRPC stubs are older than protos/; {_REMEDY}")
