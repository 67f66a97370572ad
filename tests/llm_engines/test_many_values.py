"""A body of very many JSON values takes little time, and odd numbers are read."""

from __future__ import annotations

import pytest

from gatewayx_nb.llm_engines import openai_batches, response_body


def test_the_number_of_values_is_limited():
    values, rest = response_body._json_values("{}" * 200_000)

    assert len(values) == response_body._MAX_VALUES
    assert rest.startswith("{}")


@pytest.mark.parametrize("number", [10**400, 1e300, -1])
def test_a_number_that_is_not_a_time_is_not_the_time_of_a_batch(number):
    """JSON may contain integers that have no float."""
    batch = openai_batches._batch({"id": "a", "status": "completed", "completed_at": number})
    assert batch.ended_at is None
