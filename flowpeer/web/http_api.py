"""The pages' twin for programs: `/api/TABLE.json`, `/api/TABLE.csv`, `/api/sql.…`, and the OpenAPI
document, which is made from the same list of tables as the pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flowpeer import __version__
from flowpeer.errors import NoDataError
from flowpeer.web import answers, statements, tables
from flowpeer.web.named import FILTERS, ROWS
from flowpeer.web.reader import SharedReader, ShownTable
from flowpeer.web.render import arranged
from flowpeer.web.view import DIRECTIONS, FAMILIES, MAX_LIMIT
from flowpeer_reports.render import render_table

_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


class Api:
    """The endpoints for programs."""

    def __init__(self, reader: SharedReader) -> None:
        self._reader = reader

    async def table(self, request: Request) -> Response:
        """A table by name, whole: every row and every column."""
        name, form = _form(request.path_params["file"])
        view = await self._reader.view(request.query_params.multi_items())
        if asked := view.own.get("sort"):
            own = asked if asked.startswith(f"{name}.") else f"{name}.{asked}"
            view = replace(view, own={**view.own, "sort": own})
            tables.check_sort(view, [name])
        if name == "sql":
            found = await statements.run(self._reader, view)
        else:
            found = await tables.fetch(name, self._reader, view)
        rows = arranged(found, name, view)
        if limit := view.own.get("limit"):
            rows = rows.head(int(limit))
        return document(replace(found, rows=rows), name, form)

    async def openapi(self, request: Request) -> Response:
        """The document that says all this."""
        return JSONResponse(openapi())


def _form(file: str) -> tuple[str, str]:
    name, _, form = file.rpartition(".")
    if form not in _TYPES:
        raise NoDataError(f"no table {file[:60]!r}", advice="end it in .json or .csv")
    return name, form


def document(table: ShownTable, name: str, form: str) -> Response:
    """A table as a file. What there is to know before quoting it stands in headers."""
    made = render_table(table.rows, table.columns, format="csv" if form == "csv" else "json")
    octets = made.encode() if isinstance(made, str) else made
    return Response(
        octets, media_type=_TYPES[form],
        headers={"content-disposition": f'attachment; filename="{name}.{form}"',
                 "x-flowpeer-notes": str(len(table.notes))},
    )  # fmt: skip


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1: every table with the filters that it obeys."""
    paths: dict[str, Any] = {}
    for name, named in sorted(tables.tables().items()):
        for form, kind in _TYPES.items():
            paths[f"/api/{name}.{form}"] = {
                "get": {
                    "operationId": f"{name}_{form}",
                    "summary": named.title,
                    "description": named.about,
                    "parameters": [_parameter(f, f in named.needs) for f in (*named.uses, *ROWS)],
                    "responses": _responses(kind),
                }
            }
    question = {"name": "q", "in": "query", "required": True, "schema": {"type": "string"},
                "description": "a reading statement, or the name of a question, with its "
                "parameters as p.NAME=value"}  # fmt: skip
    answer = {"name": "answer", "in": "query", "required": False,
              "schema": {"type": "string", "enum": sorted(answers.names())},
              "description": "an answer whose tables the statement may name; it is asked with "
              "period, direction, asn and pick where it takes them"}  # fmt: skip
    for form, kind in _TYPES.items():
        paths[f"/api/sql.{form}"] = {
            "get": {"operationId": f"sql_{form}", "summary": "The rows of a statement",
                    "parameters": [question, answer, *(_parameter(f, False) for f in ROWS)],
                    "responses": _responses(kind)}
        }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "flowpeer", "version": __version__, "license": {"name": "Apache-2.0"},
                 "description": "The tables of the explorer. It only reads."},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Rows": {"type": "array", "items": {"type": "object"}},
                "Problem": {
                    "type": "object", "required": ["error", "advice"],
                    "properties": {"error": {"type": "string"}, "advice": {"type": "string"}},
                },
            },
        },
        "security": [{"token": []}, {}],
    }  # fmt: skip


def _parameter(name: str, needed: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in ("metro", "provider"):
        schema = {"type": "array", "items": schema}
    elif name == "direction":
        schema["enum"] = list(DIRECTIONS)
    elif name == "family":
        schema["enum"] = [f for f in FAMILIES if f]
    elif name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
    return {"name": name, "in": "query", "required": needed, "schema": schema,
            "description": (FILTERS | ROWS)[name]}  # fmt: skip


def _responses(kind: str) -> dict[str, Any]:
    kind = kind.partition(";")[0]
    ref = "Rows" if kind == "application/json" else None
    schema = {"$ref": f"#/components/schemas/{ref}"} if ref else {"type": "string"}
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "200": {"description": "the rows", "content": {kind: {"schema": schema}}},
        **{status: {"description": text, "content": problem}
           for status, text in (("400", "a filter or statement that is off"),
                                ("404", "no such table, or no data"),
                                ("503", "the lake is not there, or locked: ask again"))},
    }  # fmt: skip
