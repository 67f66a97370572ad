"""The request for a comparison run: its prompt, models and options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.images import Image

MAX_REPLIES = 60
"""Maximum number of replies per run; more would not be readable as columns."""

_INPUT_PLACEHOLDER = re.compile(r"{{\s*input\s*}}")


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """The prompt, models and options of a run.

    Attributes:
        prompt: The prompt, with ``{{name}}`` and ``{{input}}`` as typed.
        references: The models to call.
        options: The options of the calls; unset options are omitted.
        images: The uploaded images, by file name.
        inputs: The values of ``{{input}}``; the replies to each value form a row.
        samples: Number of calls to each model.
        blind: Whether the names and metrics of models are hidden until the user votes.
    """

    prompt: str
    references: tuple[str, ...]
    options: CallOptions = field(default_factory=dict)  # type: ignore[assignment]
    images: Mapping[str, Image] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    samples: int = 1
    blind: bool = False

    def check(self) -> None:
        """Check that the request can be run.

        Raises:
            UsageError: If the request has no prompt, no models or too many replies.
        """
        if not self.prompt.strip():
            raise UsageError("The prompt is empty.", hint="Enter a prompt.")
        if not self.references:
            raise UsageError("No model is selected.", hint="Select one or more models.")
        if self.inputs and not _INPUT_PLACEHOLDER.search(self.prompt):
            raise UsageError(
                "there are inputs, but the prompt does not contain {{input}}.",
                hint="Write {{input}} in the prompt where an input belongs.",
            )
        reply_count = len(self.references) * self.samples * max(1, len(self.inputs))
        if reply_count > MAX_REPLIES:
            raise UsageError(
                f"a run must have at most {MAX_REPLIES} replies, got {reply_count}.",
                hint="Use fewer inputs, samples or models.",
            )
