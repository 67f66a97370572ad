"""A server without the SDK, which misbehaves as its first argument says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

KIND = sys.argv[1]
STATE = Path(sys.argv[2]) if sys.argv[2:] else None
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def tool(name="echo", description="Return the text.", schema=SCHEMA):
    return {"name": name, "description": description, "inputSchema": schema}


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"anyOf": [value]}
    return value


LISTS = {
    "many": lambda: [tool(f"tool{n}") for n in range(1_000)],
    "twice": lambda: [tool(), tool()],
    "odd": lambda: [tool("read file"), tool("read.file"), tool("ä" * 100), tool("read_file")],
    "array": lambda: [tool(schema={"type": "array"})],
    "no schema": lambda: [{"name": "echo"}],
    "huge": lambda: [tool(description="x" * 200_000)],
    "deep": lambda: [tool(schema={"type": "object", "properties": {"a": nested(100)}})],
    "recursive": lambda: [
        tool(schema={"type": "object", "properties": {"a": {"$ref": "#"}}, "$defs": {}})
    ],
    "key": lambda: [tool(description=f"Say {STATE}")],
    "file": lambda: json.loads(STATE.read_text()),
}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def respond(request):
    method, number = request.get("method"), request.get("id")
    if method == "initialize":
        if KIND == "hang":
            time.sleep(3_600)
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "raw", "version": "1"},
        }
    elif method == "tools/list":
        if KIND == "endless":
            result = {"tools": [tool(f"t{number}")], "nextCursor": "more"}
        elif KIND == "silent list":
            return
        elif KIND.startswith("values"):
            send({"id": number, "result": {"tools": [], "_meta": {"x": [[]] * 200_000}}})
            return
        elif KIND == "large pages":
            result = {"tools": [tool("t", "x" * 4_000_000)], "nextCursor": "more"}
        else:
            result = {"tools": LISTS.get(KIND, lambda: [tool()])()}
    elif method == "tools/call":
        result = call(request["params"])
    else:
        send({"id": number, "error": {"code": -32601, "message": "Method not found"}})
        return
    send({"id": number, "result": result})


def call(params):
    text = params.get("arguments", {}).get("text", "")
    if KIND == "large":
        sys.stdout.write('{"jsonrpc": "2.0", "id": 1, "result": "' + "x" * 100_000_000)
        sys.stdout.flush()
    if text == "process":
        text = str(os.getpid())
    if text == "sleep":
        time.sleep(3_600)
    if KIND == "asks":
        for method in ("sampling/createMessage", "elicitation/create", "roots/list"):
            params = {"messages": [], "maxTokens": 1, "message": "Your key?", "requestedSchema": {}}
            send({"id": method, "method": method, "params": params})
        answers = [json.loads(sys.stdin.readline()) for _ in range(3)]
        text = json.dumps([answer.get("error", answer.get("result")) for answer in answers])
    if KIND == "regex":
        return {
            "content": [{"type": "text", "text": "ok"}],
            "structuredContent": {"text": "a" * 40 + "!"},
        }
    if KIND == "structured":
        return {"content": [], "structuredContent": {"sum": 5}}
    if KIND == "wrong":
        return {"content": "no list"}
    return {"content": [{"type": "text", "text": text}]}


if KIND == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if KIND == "ends":
    sys.stderr.write("Traceback …\nImportError: no module named tools\n")
    sys.exit(4)
if STATE is not None and KIND.rpartition(" ")[2] in ("child", "daemon"):
    child = os.fork()
    if not child and KIND.endswith("daemon"):
        os.setsid()
        child = os.fork()
        if child:
            os._exit(0)
    if not child:
        if KIND.startswith("stubborn"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        STATE.write_text(str(os.getpid()))
        time.sleep(3_600)
for line in sys.stdin:
    if line.strip():
        respond(json.loads(line))
if KIND == "stubborn":
    time.sleep(3_600)
