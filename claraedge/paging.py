"""Pages of lists: how a gRPC call asks for one, and learns where the next one begins. Pure.

A call has `claraedge-page-size` in its metadata, and `claraedge-page-after` for all pages but the
first. Its trailing metadata has `claraedge-page-next` if others follow.
"""

from __future__ import annotations

import base64

SIZE, AFTER, NEXT = "claraedge-page-size", "claraedge-page-after", "claraedge-page-next"
#: The most results of a page.
LARGEST = 1000


def token_of(key: str) -> str:
    """Returns the token for the page after a key."""
    return base64.urlsafe_b64encode(key.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def key_of(token: str) -> str:
    """Returns the key of a token. Raises ValueError if it is none."""
    padded = token + "=" * (-len(token) % 4)
    return base64.b64decode(padded, b"-_", validate=True).decode("utf-8", "surrogatepass")
