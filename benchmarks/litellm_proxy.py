"""Serves LiteLLM's proxy in front of a provider, for the benchmark `serving.py`.

    python benchmarks/litellm_proxy.py PROVIDER_URL

It runs in an environment with ``litellm[proxy]``, whose pins contradict those of this package. Like
`proxy.py`, it prints its URL and its token, and serves until its standard input ends. It has one
worker, no database and no access log.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from asgi_child import serve_until_input_ends

KEY = "sk-0123456789"


def main() -> None:
    """Serve until the standard input ends."""
    (provider,) = sys.argv[1:]
    model = {"model": "openai/gpt-4o-mini", "api_base": provider, "api_key": KEY}
    settings = {
        "model_list": [{"model_name": "grok", "litellm_params": model}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps(settings))  # JSON is YAML
        os.environ |= {"CONFIG_FILE_PATH": str(path), "LITELLM_LOG": "ERROR"}
        from litellm.proxy.proxy_server import app  # it reads the environment

        serve_until_input_ends(app, KEY)


if __name__ == "__main__":
    main()
