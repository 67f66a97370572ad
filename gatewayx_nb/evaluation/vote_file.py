"""A file of votes, which a later run of an evaluation reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.bounded_json import loads
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.evaluation.grid_cell import Score
from gatewayx_nb.evaluation.records import FORMAT
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
        """What the vote is about."""
        return self.row, self.variant, self.sample, self.answer


@dataclass(slots=True)
class _Votes:
    format: int
    votes: list[_Vote] = field(default_factory=list)


class VoteFile:
    """A file of votes; it holds digests of answers, and no answers.

    A vote belongs to an answer: if the variant answers differently, the vote does not apply. It
    remains in the file, and so do those of other evaluations.

    Args:
        path: The file, in JSON; created with the first vote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def apply(self, cells: Iterable[GridCell]) -> int:
        """Set the votes of cells whose answers are in the file; return the number of votes set.

        Raises:
            ConfigError: If the file exists and is not a file of votes.
        """
        votes, count = {vote.key: vote.vote for vote in self._read()}, 0
        for cell in cells if votes else ():
            label = votes.get(_key(cell)) if cell.has_answer else None
            if label is not None:
                cell.scores[VOTE] = Score(label)
                count += 1
        return count

    def write(self, cells: Iterable[GridCell]) -> None:
        """Replace the votes of cells in the file.

        Raises:
            ConfigError: If the file cannot be read or written.
        """
        votes = {vote.key: vote for vote in self._read()}
        for cell in cells:
            key, score = _key(cell), cell.scores.get(VOTE)
            if score is None:
                votes.pop(key, None)
            elif isinstance(score.value, bool | str):
                label = score.value
                votes[key] = _Vote(*key, label if isinstance(label, bool) else well_formed(label))
        encoded = msgspec.json.encode(_Votes(FORMAT, [*votes.values()]))
        content = msgspec.json.format(encoded, indent=1)
        with write_errors_as_config_error(
            self.path, "Use a folder that exists and may be written to."
        ):
            atomic_write(self.path, content + b"\n", keep_mode=True)

    def _read(self) -> list[_Vote]:
        try:
            content = read_limited(self.path, _MAX_BYTES)
            found: _Votes = msgspec.convert(loads(content), _Votes)
            if found.format != FORMAT:
                raise ValueError(f"its format is not {FORMAT}")  # noqa: TRY301 - see below
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
        return found.votes


def _key(cell: GridCell) -> tuple[str, str, int, str]:
    answer = well_formed(cell.answer).encode()
    digest = hashlib.blake2b(answer, digest_size=_DIGEST_BYTES).hexdigest()
    return well_formed(str(cell.id)), well_formed(cell.variant.name), cell.sample, digest
