"""Failures in the form that the SDK reads: `{"error": "..."}`. It shows that text to its user."""

from __future__ import annotations

from claraedge.web.http.failures import FailureAnswer, FailureForm, HttpError, connect_form
from claraedge.web.rpc.codecs import json_text

#: What the paths of the SDK begin with.
_PREFIXES = (
    "/api/",
    "/build",
    "/deployment/",
    "/disk",
    "/nativenetwork",
    "/rosbag-blobs",
    "/rosbag-jobs",
    "/routednetwork",
    "/serviceclass/",
    "/serviceinstance/",
    "/user/",
    "/v2/",
)
#: Statuses in place of others: after 500 the SDK sends a GET four times again, each a second later,
#: and 429 means nothing to it.
_STATUSES = {429: 503, 500: 503}


def form_of(path: str) -> FailureForm:
    """Returns the form of failures at a path: that of the SDK at its paths."""
    return _sdk_form if path.startswith(_PREFIXES) else connect_form


def _sdk_form(failure: HttpError) -> FailureAnswer:
    status = _STATUSES.get(failure.status, failure.status)
    return FailureAnswer(status, json_text({"error": str(failure)}))
