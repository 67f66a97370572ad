"""The JSON Schemas shipped with the package."""

import json
from pathlib import Path

import jsonschema

import gatewayx_nb


def schema(name):
    """Return a schema after checking that it is valid."""
    path = Path(gatewayx_nb.__file__).parent / "server" / f"{name}.schema.json"
    json_schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(json_schema)
    return json_schema
