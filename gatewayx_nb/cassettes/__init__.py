"""Records replies, and plays them back: a file of JSON lines that is committed with a notebook."""

from gatewayx_nb.cassettes.cassette import MODES, Asked, Cassette, Mode, Ticket, mode_of
from gatewayx_nb.cassettes.entry import Body, Entry, Piece, body_of, entry_of, vectors_of
from gatewayx_nb.cassettes.redaction import Discretion, load_redact

__all__ = [
    "MODES",
    "Asked",
    "Body",
    "Cassette",
    "Discretion",
    "Entry",
    "Mode",
    "Piece",
    "Ticket",
    "body_of",
    "entry_of",
    "load_redact",
    "mode_of",
    "vectors_of",
]
