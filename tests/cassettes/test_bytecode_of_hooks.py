"""A redaction hook runs from its source, which a person can review."""

from __future__ import annotations

import importlib.util
import py_compile

from gatewayx_nb.cassettes import load_redact


def test_bytecode_beside_a_hook_is_ignored(tmp_path):
    hook, other = tmp_path / "hook.py", tmp_path / "other.py"
    hook.write_text("def redact(text):\n    return 'reviewed'\n")
    other.write_text("def redact(text):\n    return 'not reviewed'\n")
    compiled = importlib.util.cache_from_source(hook)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), cfile=compiled, invalidation_mode=mode)

    assert load_redact("hook:redact", tmp_path, from_user_settings=False)("x") == "reviewed"
