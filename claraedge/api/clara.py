"""`nvidia.clara.platform.Clara`."""

from __future__ import annotations

from claraedge import __version__
from claraedge.api.answers import ok
from claraedge.wire.nvidia.clara.platform import clara_pb2, common_pb2

#: The release of Clara Deploy whose API this is: what a client of the original compares with.
PLATFORM = (0, 8, 1)


class ClaraServicer:
    """Version."""

    async def Version(
        self, request: clara_pb2.ClaraVersionRequest
    ) -> clara_pb2.ClaraVersionResponse:
        major, minor, patch = PLATFORM
        return clara_pb2.ClaraVersionResponse(
            header=ok(),
            version=common_pb2.Version(
                major=major, minor=minor, patch=patch, label=f"claraedge-{__version__}"
            ),
        )
