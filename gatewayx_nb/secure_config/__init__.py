"""Reads, validates and writes the user's settings, keys and permissions."""

from gatewayx_nb.files import (
    FileStamp,
    display_path,
    ownership_problem,
    permission_problem,
    shipped_path,
)
from gatewayx_nb.masking import redact, redact_beginning
from gatewayx_nb.secrets import (
    KeyState,
    Secret,
    key_fault,
    key_state,
    looks_like_key,
    vendor_of_key,
)
from gatewayx_nb.secure_config.audit import FileSecurity, may_be_committed, tracked_by_git
from gatewayx_nb.secure_config.config import Config
from gatewayx_nb.secure_config.git import may_be_tracked
from gatewayx_nb.secure_config.headers import check_no_key
from gatewayx_nb.secure_config.importing import ConfirmImport, ImportPlan, KeyImport, SkipReason
from gatewayx_nb.secure_config.key_lookup import SECRET_NAME, VENDOR_VARIABLES, Key, engine_variable
from gatewayx_nb.secure_config.key_store import make_folder as make_secrets_folder
from gatewayx_nb.secure_config.settings import (
    RATE_OPTIONS,
    SHIPPED_ALIASES,
    Limits,
    Network,
    Rates,
    ToolSettings,
)
from gatewayx_nb.secure_config.settings_table import ENGINE_SETTINGS, MCP_SETTINGS, SETTINGS
from gatewayx_nb.secure_config.trusted import Permission, origin

__all__ = [
    "ENGINE_SETTINGS",
    "MCP_SETTINGS",
    "RATE_OPTIONS",
    "SECRET_NAME",
    "SETTINGS",
    "SHIPPED_ALIASES",
    "VENDOR_VARIABLES",
    "Config",
    "ConfirmImport",
    "FileSecurity",
    "FileStamp",
    "ImportPlan",
    "Key",
    "KeyImport",
    "KeyState",
    "Limits",
    "Network",
    "Permission",
    "Rates",
    "Secret",
    "SkipReason",
    "ToolSettings",
    "check_no_key",
    "display_path",
    "engine_variable",
    "key_fault",
    "key_state",
    "looks_like_key",
    "make_secrets_folder",
    "may_be_committed",
    "may_be_tracked",
    "origin",
    "ownership_problem",
    "permission_problem",
    "redact",
    "redact_beginning",
    "shipped_path",
    "tracked_by_git",
    "vendor_of_key",
]
