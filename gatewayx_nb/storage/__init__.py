"""SQLite files: the ledger of past calls."""

from gatewayx_nb.storage.ledger import Ledger, LedgerEntry

__all__ = ["Ledger", "LedgerEntry"]
