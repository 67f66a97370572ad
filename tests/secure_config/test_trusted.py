"""Permissions that several kernels give at the same time."""

import threading
from pathlib import Path

from gatewayx_nb.secure_config.trusted import Permission, TrustStore

PROJECT = Path("/project")


def test_permissions_that_are_given_at_the_same_time_are_all_stored(tmp_path):
    """Writers that start from the same file do not lose each other's permissions."""
    start = threading.Barrier(8)
    path = tmp_path / "user" / "trusted.json"

    def give(number):
        store = TrustStore(path, {})
        start.wait(timeout=30)
        store.add(PROJECT, [Permission(f"engine{number}", "https://host.example", "")])

    threads = [threading.Thread(target=give, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    store = TrustStore(path, {})
    store.refresh()
    assert len(store.permissions(PROJECT)) == 8
    store.revoke(PROJECT)
    assert store.permissions(PROJECT) == []
