"""The ledger of past calls, a SQLite file."""

from gatewayx_nb.storage.ledger import Ledger, LedgerEntry

__all__ = ["Ledger", "LedgerEntry"]
