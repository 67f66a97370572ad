"""Folders, settings and keys: what the user's files say, and how they are kept."""

from gatewayx_nb.secure_config.audit import FileSecurity, tracked
from gatewayx_nb.secure_config.config import Config
from gatewayx_nb.secure_config.importing import Imported
from gatewayx_nb.secure_config.keyfile import make_folder as make_secrets_folder
from gatewayx_nb.secure_config.keys import VENDOR_VARIABLES, Key, variable
from gatewayx_nb.secure_config.permissions import why_foreign, why_refused
from gatewayx_nb.secure_config.places import Owner, Place, brief, shipped
from gatewayx_nb.secure_config.secret import (
    MASK,
    KeyState,
    Secret,
    may_be_key,
    redact,
    state_of,
    vendor_of,
)
from gatewayx_nb.secure_config.settings import SHIPPED_ALIASES, Limits, Network, Rates, Settings
from gatewayx_nb.secure_config.trusted import Way, origin
from gatewayx_nb.secure_config.watch import Watch

__all__ = [
    "MASK",
    "SHIPPED_ALIASES",
    "VENDOR_VARIABLES",
    "Config",
    "FileSecurity",
    "Imported",
    "Key",
    "KeyState",
    "Limits",
    "Network",
    "Owner",
    "Place",
    "Rates",
    "Secret",
    "Settings",
    "Watch",
    "Way",
    "brief",
    "make_secrets_folder",
    "may_be_key",
    "origin",
    "redact",
    "shipped",
    "state_of",
    "tracked",
    "variable",
    "vendor_of",
    "why_foreign",
    "why_refused",
]
