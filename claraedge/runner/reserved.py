"""Annotations and labels that an image may not set for the containers created from it. Pure.

Podman gives a container the annotations and labels of its image. A runtime, systemd, a hook or
claraedge itself acts on some of them: these are reserved for whoever creates containers, and not
for whoever builds images.

Sources: crun(1), "OCI EXTENSIONS"; runc's and crun's `org.systemd.property.*`; libpod/define of
Podman 5.8 (`io.podman.annotations.*`); hooks of the distributions (`io.containers.*`); Kata,
gVisor, krun, wasm and CRIU; nvidia-container-runtime (`cdi.k8s.io/*` gives devices).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

#: Prefix of claraedge's own annotations and labels.
OWN = "io.claraedge."
_ANNOTATIONS = (
    OWN,
    "run.oci.",
    "org.systemd.",
    "org.criu.",
    "io.container.",
    "io.containers.",
    "io.podman.",
    "io.crun.",
    "io.kubernetes.",
    "io.katacontainers.",
    "dev.gvisor.",
    "krun.",
    "module.wasm.",
    "cdi.k8s.io/",
    "nvidia.cdi.k8s.io/",
)
#: Labels that `podman auto-update` acts on; images for other purposes carry them, too.
_PODMAN = ("io.containers.autoupdate", "io.containers.autoupdate.authfile", "PODMAN_SYSTEMD_UNIT")
_SHOWN = 3


def reserved(annotations: Iterable[str], labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the names on an image that are reserved, as `annotation NAME` or `label NAME`."""
    return (
        *(f"annotation {name}" for name in sorted(annotations) if name.startswith(_ANNOTATIONS)),
        *(f"label {name}" for name in sorted(labels) if name.startswith(OWN)),
    )


def refusal(image: str, names: Sequence[str]) -> str:
    """Returns the message for an image that carries some; `image` is its name or id."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(f"`{name[:200]}`" for name in names[:_SHOWN])
    return (
        f"the image {image} is refused, because it carries what is reserved for whoever runs"
        f" containers: {shown}{more}; build it again without (`podman build --unsetlabel NAME`, or"
        " without `--annotation`), and load that"
    )


def explicit(labels: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """Returns the labels of a container, with each missing one of `known` set to an empty value, so
    that no label of the image replaces it.
    """
    return {**dict.fromkeys((*known, *_PODMAN), ""), **labels}
