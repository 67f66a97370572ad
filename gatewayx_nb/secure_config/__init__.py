"""Folders, settings and keys: what the user's files say, and how they are kept."""

from gatewayx_nb.secure_config.secret import MASK, KeyState, Secret, redact, state_of
from gatewayx_nb.secure_config.settings import Network

__all__ = ["MASK", "KeyState", "Network", "Secret", "redact", "state_of"]
