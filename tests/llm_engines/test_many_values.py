"""A body of very many JSON values takes little time."""

from __future__ import annotations

from gatewayx_nb.llm_engines import response_body


def test_the_number_of_values_is_limited():
    values, rest = response_body._values("{}" * 200_000)

    assert len(values) == response_body._MAX_VALUES
    assert rest.startswith("{}")
