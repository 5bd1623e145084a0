"""The models of the device, and the catalogs that they are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable

from claraedge.web.console.forms import Outcome, SentForm
from claraedge.web.console.pages.device.lists import ROWS, first_of, start_of
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.router import Route
from claraedge.wire.nvidia.clara.platform import common_pb2, models_pb2

#: Answers of a list; each has some hundred models or catalogs.
_ANSWERS = 1000
#: What a type of a model is called.
_TYPES = {
    models_pb2.MODEL_TYPE_TENSOR_FLOW: "TensorFlow",
    models_pb2.MODEL_TYPE_TENSOR_RT: "TensorRT",
    models_pb2.MODEL_TYPE_PY_TORCH: "PyTorch",
}


class ModelPages:
    """Shows models, stores and deletes them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/models", self._list)
        yield self._pages.receive("/ui/models", self._upload)
        yield self._pages.post("/ui/models/{model}/delete", self._delete)

    async def _list(self, visit: Visit) -> None:
        answers, sets = await visit.at_once(
            first_of(
                visit,
                "nvidia.clara.platform.Models/ListModels",
                models_pb2.ModelsListModelsRequest(),
                models_pb2.ModelsListModelsResponse,
                _ANSWERS,
            ),
            first_of(
                visit,
                "nvidia.clara.platform.Models/ListCatalogs",
                models_pb2.ModelsListCatalogsRequest(),
                models_pb2.ModelsListCatalogsResponse,
                _ANSWERS,
            ),
        )
        catalogs = defaultdict[str, list[str]](list)
        for answer in sets:
            for catalog in answer.catalogs:
                for model in catalog.models:
                    catalogs[model.model_id.value].append(catalog.catalog_id.value)
        models = [model for answer in answers for model in answer.models]
        start = start_of(visit)
        await visit.show(
            "models.html",
            models=models[start : start + ROWS],
            count=len(models),
            start=start,
            rows=ROWS,
            catalogs=catalogs,
            types=_TYPES,
        )

    async def _upload(self, visit: Visit) -> Outcome:
        if visit.sent is None or not visit.sent.has_files:
            return Outcome("/ui/models", "none_chosen")
        await visit.send(
            "nvidia.clara.platform.Models/UploadModel",
            _messages(visit.field("name"), visit.field("type"), visit.sent),
            models_pb2.ModelsUploadModelResponse,
        )
        return Outcome("/ui/models", "model_uploaded")

    async def _delete(self, visit: Visit) -> None:
        id_ = common_pb2.Identifier(value=visit.request.parameters["model"])
        await visit.ask(
            "nvidia.clara.platform.Models/DeleteModel",
            models_pb2.ModelsDeleteModelRequest(model_id=id_),
            models_pb2.ModelsDeleteModelResponse,
        )
        await visit.go("/ui/models", "model_deleted")


async def _messages(name: str, type_: str, form: SentForm) -> AsyncGenerator[bytes, None]:
    if type_ not in set(models_pb2.ModelType.keys()):
        raise invalid(f"the type of a model is {excerpt(type_)!r}; choose one of the form")
    details = models_pb2.ModelDetails(name=name, type=models_pb2.ModelType.Value(type_))
    yield models_pb2.ModelsUploadModelRequest(details=details).SerializeToString()
    async for part in form.only_file():
        yield models_pb2.ModelsUploadModelRequest(data=part).SerializeToString()
