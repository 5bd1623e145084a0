"""Reads the liveness probe of an executable. Pure.

Source of the fields: rapyuta-io-cli 10.7.0, package-schema.yaml. By default, period and
successThreshold are those of Kubernetes: by those of rapyuta.io, a probe would run each second.
"""

from __future__ import annotations

from claraedge.packages.checks import TextRule, Written, is_texts
from claraedge.packages.model import LivenessProbe

_MAX_SECONDS = 86400
_MAX_COUNT = 1000
_PATH = TextRule(r"/[!-~]{0,1023}", "a path that begins with `/`, without blanks")
_KINDS = ("httpGet", "tcpSocket", "exec")


def read_probe(place: Written) -> LivenessProbe | None:
    """Returns the liveness probe that is written at a place; None if there is none."""
    probe = place.fields(
        *_KINDS, "initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold",
        "failureThreshold",
    )  # fmt: skip
    if not isinstance(place.value, dict):
        return None
    kinds = [kind for kind in _KINDS if probe[kind].value is not None]
    if len(kinds) != 1:
        found = " and ".join(f"`{kind}`" for kind in kinds) or "nothing"
        place.wrong(f"it has {found} to try; write one of `httpGet`, `tcpSocket` and `exec`")
    http, tcp = probe["httpGet"].fields("path", "port", "scheme"), probe["tcpSocket"].fields("port")
    if http["scheme"].text() not in ("", "HTTP", "http"):
        http["scheme"].wrong("probes speak `HTTP` only; for another scheme write `tcpSocket`")
    given = LivenessProbe()
    return LivenessProbe(
        path=_path(http["path"]) if http.value is not None else "",
        port=sum(_port(each["port"]) for each in (http, tcp) if each.value is not None),
        command=_command(probe["exec"].fields("command")["command"], probe["exec"].value),
        delay=_seconds(probe["initialDelaySeconds"], given.delay, least=0),
        period=_seconds(probe["periodSeconds"], given.period),
        timeout=_seconds(probe["timeoutSeconds"], given.timeout),
        successes=_count(probe["successThreshold"], given.successes),
        failures=_count(probe["failureThreshold"], given.failures),
    )


def _path(place: Written) -> str:
    return place.text(longest=1024, rule=_PATH) or "/"


def _port(place: Written) -> int:
    return place.need("the port that the program listens on").whole(65535, "a port", least=1)


def _command(place: Written, written: object) -> tuple[str, ...]:
    if written is None:
        return ()
    if place.need("a list with a program and its arguments").value and not is_texts(place.value):
        place.wrong("it is not a list of texts; write the program and each argument as a text")
        return ()
    return tuple(each.prose() for each in place.items())


def _seconds(place: Written, default: int, *, least: int = 1) -> int:
    found = place.whole(_MAX_SECONDS, "seconds", least=least)
    return default if place.value is None else found


def _count(place: Written, default: int) -> int:
    return place.whole(_MAX_COUNT, "times", least=1) or default
