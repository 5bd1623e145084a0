"""Decides whether a failed operator is run again, and when. Pure."""

from __future__ import annotations

from claraedge.pipelines.model import Retry

_LONGEST = 3600


def next_attempt(retry: Retry, retries: int, exit_code: int | None) -> int | str:
    """Returns the seconds until the next attempt, or the reason why there is none.

    The seconds double with each retry. `retries`: number of earlier retries. Interruptions by the
    machine do not count.
    """
    if exit_code is not None and exit_code in retry.exceptions:
        return f"it is not run again after exit code {exit_code} (`retry.except`)"
    if retries + 1 >= retry.attempts:
        return f"that was attempt {retries + 1} of {retry.attempts} (`retry.attempts`)"
    return min(_LONGEST, retry.backoff << retries)
