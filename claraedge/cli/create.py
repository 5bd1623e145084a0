"""`claraedge create pipeline | job | payload | model | image | package | route | network`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import click

from claraedge import texts
from claraedge.cli.options import Nouns, Options, metadata, pairs, remote, variables
from claraedge.cli.output import progress
from claraedge.cli.subject import PIPELINE
from claraedge.cli.transfer import gather, names_of
from claraedge.errors import ClaraedgeError, InvalidManifestError

#: Priorities as Clara's command line and its adapter spell them, with their names in the protos.
_PRIORITIES = {
    "low": "LOWER",
    "lower": "LOWER",
    "normal": "NORMAL",
    "high": "HIGHER",
    "higher": "HIGHER",
    "immediate": "IMMEDIATE",
}
#: Types of models as in Clara's command line; `client.models.TYPES` maps them to the protos' names.
_MODEL_TYPES = ("tensorflow", "tensorrt", "pytorch", "unknown")
#: Bytes of the longest manifest that a daemon accepts.
_MAX_MANIFEST = 1 << 20
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FILE_OR_FOLDER = click.Path(exists=True, path_type=Path)


@click.group(cls=Nouns)
def create() -> None:
    """Create a pipeline, a job, a payload, a package and more, store a model, or load an image."""


@create.command("pipeline")
@click.option("-p", "--pipeline", "files", multiple=True, type=_FILE, required=True)
@click.argument("more", metavar="[FILE]...", nargs=-1, type=_FILE)
@metadata
@remote
def create_pipeline(
    options: Options, files: tuple[Path, ...], more: tuple[Path, ...], metadata: tuple[str, ...]
) -> None:
    """Register a pipeline; prints its id.

    The first FILE is the pipeline. What it imports is read from the disk and sent along, also
    where it is not named.
    """
    from claraedge.cli.definition import of_files
    from claraedge.client import pipelines

    entries = pairs(metadata, "--metadata")
    definition = of_files((*files, *more)).files
    with options.connect() as connection:
        pipeline_id, warnings = pipelines.create(connection, definition, entries)
    if options.json:
        options.print_json({"pipeline_id": pipeline_id, "warnings": warnings})
        return
    show_warnings(warnings)
    click.echo(pipeline_id)


def show_warnings(warnings: Iterable[str]) -> None:
    """Prints warnings to stderr, apart from the output that scripts read."""
    for warning in warnings:
        click.echo(f"claraedge: warning: {warning}", err=True)


@create.command("job")
@click.option("-n", "--name", required=True)
@click.option("-p", "--pipeline", required=True, help=f"{PIPELINE.meaning}.")
@click.option(
    "-f",
    "--files",
    multiple=True,
    type=_FILE_OR_FOLDER,
    help="Input: a file, or a folder with all files in it. Can be repeated.",
)
@click.option(
    "-i", "--priority", type=click.Choice(list(_PRIORITIES)), default="normal", show_default=True
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PAYLOAD",
    help="Id of a reusable payload, whose files are copied into the job first. Can be repeated.",
)
@click.option("-s", "--start", "begin", is_flag=True, help="Start the job after the upload.")
@variables
@metadata
@remote
def create_job(
    options: Options,
    name: str,
    pipeline: str,
    files: tuple[Path, ...],
    priority: str,
    inputs: tuple[str, ...],
    begin: bool,
    variable: tuple[str, ...],
    metadata: tuple[str, ...],
) -> None:
    """Create a job; prints JOB_ID:<id>, then PAYLOAD_ID:<id>.

    Parameters of the pipeline get their values (--variable) at the start: with --start.
    """
    from claraedge.client import jobs, payloads, pipelines

    given = pairs(variable, "--variable")
    if given and not begin:
        raise click.UsageError(
            "--variable is for the start of a job: add --start, or give it to `claraedge start job`"
        )
    entries = pairs(metadata, "--metadata")
    with options.connect() as connection:
        gathered = gather(connection, files)
        pipeline_id = pipelines.resolve(connection, pipeline)
        job_id, payload_id = jobs.create(
            connection, pipeline_id, name, _PRIORITIES[priority], metadata=entries, inputs=inputs
        )
        if not options.json:  # at once: a script has the ids even if the upload fails
            click.echo(f"JOB_ID:{job_id}\nPAYLOAD_ID:{payload_id}")
        state = "PENDING"
        try:
            with progress("upload", gathered.size) as sent:
                payloads.upload(connection, payload_id, gathered.files, sent)
            if begin:
                state, _ = jobs.start(connection, job_id, given)
        except (ClaraedgeError, OSError):
            click.echo(
                f"claraedge: job {job_id} was created but not started; correct the error below,"
                f" then run: claraedge upload {job_id} FILE..., then: claraedge start job {job_id}",
                err=True,
            )
            raise
    if options.json:
        options.print_json({"job_id": job_id, "payload_id": payload_id, "state": state})


@create.command("model")
@click.option(
    "-p",
    "--path",
    required=True,
    type=_FILE_OR_FOLDER,
    help="Folder in the layout of the Triton inference server, or a zip archive of it.",
)
@click.option(
    "-t",
    "--type",
    "kind",
    required=True,
    type=click.Choice(_MODEL_TYPES, case_sensitive=False),
)
@click.option("-r", "--raw", is_flag=True, help="Print only the id.")
@remote
def create_model(options: Options, path: Path, kind: str, raw: bool) -> None:
    """Store a model; prints MODEL_ID:<id>. One of the same name is replaced and keeps its id.

    Files that desktops, editors and version control create in a folder are not stored; a warning
    names them.
    """
    from claraedge.client import models

    with options.connect() as connection:
        names = names_of(connection, [path])
        with progress("upload", models.size_of(path, names)) as sent:
            model, notes = models.upload(connection, path, models.TYPES[kind], sent, names)
    if options.json:
        answer = {"model_id": model.id, "name": model.name, "type": model.type}
        options.print_json({**answer, "warnings": [*notes]})
    else:
        show_warnings(notes)
        click.echo(model.id if raw else f"MODEL_ID:{model.id}")


@create.command("payload")
@click.option(
    "-f",
    "--files",
    multiple=True,
    type=_FILE_OR_FOLDER,
    help="A file, or a folder with all files in it. Can be repeated.",
)
@metadata
@remote
def create_payload(options: Options, files: tuple[Path, ...], metadata: tuple[str, ...]) -> None:
    """Create a reusable payload, whose files many jobs can use; prints PAYLOAD_ID:<id>."""
    from claraedge.client import payloads

    entries = pairs(metadata, "--metadata")
    with options.connect() as connection:
        gathered = gather(connection, files)
        payload_id = payloads.create(connection, entries)
        if not options.json:  # at once: a script has the id even if the upload fails
            click.echo(f"PAYLOAD_ID:{payload_id}")
        with progress("upload", gathered.size) as sent:
            payloads.upload(connection, payload_id, gathered.files, sent)
    if options.json:
        options.print_json({"payload_id": payload_id, "files": list(gathered.files)})


@create.command("image")
@click.option(
    "-f",
    "--file",
    "archive",
    required=True,
    type=_FILE,
    help="Archive of docker save or podman save.",
)
@remote
def create_image(options: Options, archive: Path) -> None:
    """Load the container images of an archive; prints IMAGE_ID:<id> and its names.

    A damaged image that is already on the device is replaced.
    """
    from claraedge.client import appliance

    with options.connect() as connection, progress("load", archive.stat().st_size) as sent:
        images, warnings = appliance.load_images(connection, archive, sent)
    if options.json:
        options.print_json({"images": images, "warnings": warnings})
        return
    show_warnings(warnings)
    for image in images:
        click.echo(" ".join([f"IMAGE_ID:{image.id}", *image.names]))


@create.command("route")
@click.argument("prefix")
@remote
def create_route(options: Options, prefix: str) -> None:
    """Create a static route; prints ROUTE_ID:<id> and its path on the HTTP front.

    PREFIX has 4 to 64 lower-case letters, digits and hyphens, a letter first. The route leads to
    the endpoint of the deployment that is created with it: `claraedge deploy --route`.

    Example: claraedge create route viewer
    """
    from claraedge.client.packages import routes

    with options.connect() as connection:
        route = routes.create(connection, prefix)
    if options.json:
        options.print_json(route)
    else:
        click.echo(f"ROUTE_ID:{route.id} {route.path}")


@create.command("network")
@click.argument("name")
@click.option("--ros", default="", metavar="DISTRO", help="With a ROS master: noetic, for example.")
@click.option(
    "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Can be repeated."
)
@remote
def create_network(options: Options, name: str, ros: str, labels: tuple[str, ...]) -> None:
    """Create a private network for deployments; prints NETWORK_ID:<id>.

    Deployments join it by `claraedge deploy --network`.

    Example: claraedge create network robot --ros noetic
    """
    from claraedge.client.packages import networks

    with options.connect() as connection:
        network = networks.create(connection, name, ros, pairs(labels, "--label"))
    if options.json:
        options.print_json(network)
    else:
        click.echo(f"NETWORK_ID:{network.id}")


@create.command("package")
@click.option(
    "-f",
    "--file",
    "manifest",
    required=True,
    type=click.File("rb"),
    help="Manifest of rapyuta.io, as JSON or YAML; - reads standard input.",
)
@remote
def create_package(options: Options, manifest: BinaryIO) -> None:
    """Create a package from its manifest; prints PACKAGE_ID:<id>.

    Example: claraedge create package -f camera.yaml
    """
    from claraedge.client.packages import catalogue

    text = _manifest(manifest)
    with options.connect() as connection:
        try:
            package = catalogue.create(connection, text)
        except InvalidManifestError as error:  # the daemon does not know the name of the file
            raise InvalidManifestError(f"{manifest.name}:", *error.messages) from error
    if options.json:
        answer = {"package_id": package.id, "name": package.name, "version": package.version}
        options.print_json(answer)
    else:
        click.echo(f"PACKAGE_ID:{package.id}")


def _manifest(file: BinaryIO) -> str:
    """Returns the text of a file. Raises InvalidManifestError if it is too long or not UTF-8."""
    content = file.read(_MAX_MANIFEST + 1)
    if len(content) > _MAX_MANIFEST:
        raise InvalidManifestError(f"{file.name}: it is larger than {_MAX_MANIFEST} bytes")
    try:
        return texts.decode(content)
    except texts.NotTextError as error:
        raise InvalidManifestError(f"{file.name}:{error.line}:{error.column}: {error}") from error
