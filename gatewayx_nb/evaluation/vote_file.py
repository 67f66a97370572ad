"""Keeps votes on answers in a file, which later runs of an evaluation read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.bounded_json import loads
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.evaluation.grid_cell import Score
from gatewayx_nb.evaluation.records import FORMAT_VERSION
from gatewayx_nb.evaluation.score_values import VOTE
from gatewayx_nb.files import atomic_write, read_limited, write_errors_as_config_error
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gatewayx_nb.evaluation.grid_cell import GridCell

_MAX_BYTES = 64 * 1024**2
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class _Vote:
    """A vote in a file.

    Attributes:
        row: The ID of the row, as text.
        variant: Name of the variant.
        sample: Number of the sample, from 0.
        answer: Digest of the answer, to which the vote belongs.
        vote: The label.
    """

    row: str
    variant: str
    sample: int
    answer: str
    vote: bool | str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """The row, variant, sample and answer that the vote is about."""
        return self.row, self.variant, self.sample, self.answer


@dataclass(slots=True)
class _Votes:
    format: int
    votes: list[_Vote] = field(default_factory=list)


class VoteFile:
    """A file of votes, with digests of the answers instead of the answers.

    A vote belongs to one answer: if the variant later answers differently, the vote does not apply,
    but it remains in the file, as do the votes of other evaluations.

    Args:
        path: The file, in JSON; created with the first vote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def apply(self, cells: Iterable[GridCell]) -> int:
        """Set the votes that the file has for the answers of cells; return the number of votes set.

        Raises:
            ConfigError: If the file exists and is not a file of votes.
        """
        votes, count = {vote.key: vote.vote for vote in self._read()}, 0
        for cell in cells if votes else ():
            label = votes.get(_vote_key(cell)) if cell.has_answer else None
            if label is not None:
                cell.scores[VOTE] = Score(label)
                count += 1
        return count

    def write(self, cells: Iterable[GridCell]) -> None:
        """Write the votes of cells to the file, and remove those of cells without a vote.

        Raises:
            ConfigError: If the file cannot be read or written.
        """
        votes = {vote.key: vote for vote in self._read()}
        for cell in cells:
            key, score = _vote_key(cell), cell.scores.get(VOTE)
            if score is None:
                votes.pop(key, None)
            elif isinstance(score.value, bool | str):
                label = score.value
                votes[key] = _Vote(*key, label if isinstance(label, bool) else well_formed(label))
        encoded = msgspec.json.encode(_Votes(FORMAT_VERSION, [*votes.values()]))
        content = msgspec.json.format(encoded, indent=1)
        with write_errors_as_config_error(
            self.path, "Use a folder that exists and may be written to."
        ):
            atomic_write(self.path, content + b"\n", keep_mode=True)

    def _read(self) -> list[_Vote]:
        try:
            content = read_limited(self.path, _MAX_BYTES)
            saved: _Votes = msgspec.convert(loads(content), _Votes)
            if saved.format != FORMAT_VERSION:
                raise ValueError(f"its format is not {FORMAT_VERSION}")  # noqa: TRY301 - see below
        except FileNotFoundError:
            return []
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{str(self.path)!r} cannot be read: {reason}.") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{str(self.path)!r} is not a file of votes: {error}.",
                hint="Use a path at which there is no file yet.",
            ) from None
        return saved.votes


def _vote_key(cell: GridCell) -> tuple[str, str, int, str]:
    answer = well_formed(cell.answer).encode()
    digest = hashlib.blake2b(answer, digest_size=_DIGEST_BYTES).hexdigest()
    return well_formed(str(cell.id)), well_formed(cell.variant.name), cell.sample, digest
