"""The OpenAPI 3.1 description of the status API, made from its paths and documents."""

from __future__ import annotations

from typing import Any

import msgspec

from federation.status.routes import ANSWERS, EVENTS, METRICS, READYZ, Answer
from federation.status.values import ErrorDocument

_REFERENCE = "#/components/schemas/{name}"


def describe(version: str) -> dict[str, Any]:
    """The description as JSON's own types. `version` is the gateway's."""
    documents = [answer.document for answer in ANSWERS if answer.document is not None]
    _, schemas = msgspec.json.schema_components([*documents, ErrorDocument], ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Isthmus status API",
            "version": version,
            "description": "What a gateway knows about itself and the federation. Read-only; nothing in it is secret.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {answer.path: {"get": _operation(answer)} for answer in ANSWERS},
        "components": {"schemas": schemas},
    }


def _operation(answer: Answer) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": answer.name,
        "summary": answer.summary,
        "responses": {"200": {"description": answer.summary, "content": _content(answer)}},
    }
    for status, why in answer.other_statuses:
        document = answer.document if answer is READYZ else ErrorDocument
        operation["responses"][str(status)] = {"description": why, "content": _json(_reference(document))}
    if answer.parameters or answer.query:
        operation["parameters"] = _parameters(answer)
    return operation


def _parameters(answer: Answer) -> list[dict[str, Any]]:
    text = {"type": "string"}
    return [
        *({"name": name, "in": "path", "required": True, "schema": text} for name in answer.parameters),
        *({"name": name, "in": "query", "description": meaning, "schema": text} for name, meaning in answer.query),
    ]


def _content(answer: Answer) -> dict[str, Any]:
    if answer is METRICS:
        return {"text/plain": {"schema": {"type": "string"}}}
    if answer is EVENTS:
        return {**_json(_reference(answer.document)), "text/event-stream": {"schema": {"type": "string"}}}
    return _json(_reference(answer.document) if answer.document is not None else {"type": "object"})


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _reference(document: Any) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=document.__name__)}
