"""Folders, settings and keys: what the user's files say, and how they are kept."""

from gatewayx_nb.secure_config.audit import FileSecurity
from gatewayx_nb.secure_config.config import Config
from gatewayx_nb.secure_config.importing import Imported
from gatewayx_nb.secure_config.keyfile import make_folder as make_secrets_folder
from gatewayx_nb.secure_config.keys import VENDOR_VARIABLES, Key, variable
from gatewayx_nb.secure_config.permissions import why_foreign, why_refused
from gatewayx_nb.secure_config.places import Place, Stamp, brief, shipped, stamp
from gatewayx_nb.secure_config.secret import (
    MASK,
    KeyState,
    Secret,
    may_be_key,
    redact,
    state_of,
    vendor_of,
)
from gatewayx_nb.secure_config.settings import Limits, Network, Rates, Settings
from gatewayx_nb.secure_config.trusted import Way, origin

__all__ = [
    "MASK",
    "VENDOR_VARIABLES",
    "Config",
    "FileSecurity",
    "Imported",
    "Key",
    "KeyState",
    "Limits",
    "Network",
    "Place",
    "Rates",
    "Secret",
    "Settings",
    "Stamp",
    "Way",
    "brief",
    "make_secrets_folder",
    "may_be_key",
    "origin",
    "redact",
    "shipped",
    "stamp",
    "state_of",
    "variable",
    "vendor_of",
    "why_foreign",
    "why_refused",
]
