"""Look up known vulnerabilities of the pinned requirements, if an advisory index can be reached.

    python requirements/audit.py

Runs pip-audit, which must be installed. Exits with 1 if a requirement is vulnerable.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SETS = ("demo", "dev")


def audit(requirements: Path) -> list[dict] | None:
    """Return the audited dependencies; ``None`` if no advisory index can be reached."""
    command = ["-m", "pip_audit", "--format", "json", "--disable-pip", "--require-hashes"]
    run = subprocess.run(
        [sys.executable, *command, "--requirement", requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        dependencies = json.loads(run.stdout)["dependencies"]
    except ValueError:
        return None
    audited = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    return audited or None


def main() -> int:
    """Audit each set of requirements and print the result."""
    status = 0
    for name in SETS:
        audited = audit(Path(__file__).with_name(f"{name}.txt"))
        if audited is None:
            print(f"{name}: no advisory index can be reached, so nothing was looked up.")
            continue
        vulnerable = [dependency for dependency in audited if dependency["vulns"]]
        for dependency in vulnerable:
            ids = ", ".join(vulnerability["id"] for vulnerability in dependency["vulns"])
            print(f"{name}: {dependency['name']} {dependency['version']}: {ids}")
        print(f"{name}: {len(vulnerable)} of {len(audited)} requirements are vulnerable.")
        status = status or bool(vulnerable)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
