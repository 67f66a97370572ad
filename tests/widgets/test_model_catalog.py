"""The choice of models as keys and engine files change."""

import json

import pytest

from gatewayx_nb.errors import AuthenticationError
from gatewayx_nb.testing import Send, Server, reply
from gatewayx_nb.widgets.model_catalog import CatalogItem, ModelCatalog

LISTED = json.dumps(
    {"data": [{"id": "b-large"}, {"id": "a-small"}, {"id": "<img src=x>"}]}
).encode()


@pytest.fixture
def shelf(project):
    """Yield a shelf of a project after its first look."""
    project.engine("mine", "x")
    with project.pool() as pool:
        shelf = ModelCatalog(lambda: pool)
        shelf.look()
        yield shelf


def names(entries):
    """Return the references of entries."""
    return [entry.reference for entry in entries]


def test_ready_engines_come_first_and_the_others_say_what_they_lack(shelf):
    """Ready engines come first, and the others show what is missing and the command for it."""
    entries = shelf.entries()
    ready = [entry for entry in entries if entry.ready]
    assert entries[: len(ready)] == ready
    assert {"mine", "mock"} <= set(names(ready))
    grok = next(entry for entry in entries if entry.reference == "grok")
    assert (grok.ready, grok.state, grok.remedy) == (False, "no key", "`%gatewayx key set grok`")


def test_a_look_tells_whether_anything_changed(project, shelf):
    """`look` returns whether a key or an engine file has changed."""
    assert not shelf.look()
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789abcdef\n")
    assert shelf.look()
    assert "grok" in shelf.ready
    (project.engines / "mine_engine.py").unlink()
    assert shelf.look()
    assert "mine" not in names(shelf.entries())


def test_every_word_of_a_search_must_be_there(shelf):
    """An entry matches if each word is in its reference, model or state, in any case."""
    assert names(shelf.entries("GROK")) == ["grok"]
    assert names(shelf.entries("mine")) == ["mine"]
    assert shelf.entries("mine key") == []
    assert "grok" in names(shelf.entries("no key"))


def test_what_is_chosen_stays_in_sight(shelf):
    """Selected models stay listed above the matches, even if their engine is gone."""
    assert names(shelf.entries("mock", ["mine", "mock"])) == ["mine", "mock"]
    assert shelf.entries("mock", ["lost:one"])[0] == CatalogItem(
        "lost:one", ready=False, state="gone", remedy="`%gatewayx status`"
    )


def test_a_reference_that_is_typed_in_whole_can_be_chosen(shelf):
    """A complete reference of a ready engine can be selected, because no list has every model."""
    assert shelf.entries("mine:large") == [CatalogItem("mine:large", state="as typed")]
    assert shelf.entries("grok:large") == []


def test_models_of_a_provider_are_listed_on_demand(project):
    """A provider's models are listed on demand below their engine, sorted and searchable.

    Invalid names are skipped.
    """
    with Server(lambda _: [Send(reply(LISTED))]) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY=k-12345\nGATEWAYX_OWN_BASE_URL={server.url}\n")
        with project.pool() as pool:
            shelf = ModelCatalog(lambda: pool)
            shelf.look()
            assert "own:a-small" not in names(shelf.entries())
            assert shelf.list_models("own") == 2
            assert names(shelf.entries("own")) == ["own", "own:a-small", "own:b-large"]
            assert names(shelf.entries("small")) == ["own:a-small"]


def test_a_provider_that_lists_nothing_says_why(project):
    """The error of a provider that lists no models is raised."""
    with Server([Send(reply(b"{}", 401))]) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY=k-12345\nGATEWAYX_OWN_BASE_URL={server.url}\n")
        with project.pool() as pool, pytest.raises(AuthenticationError):
            ModelCatalog(lambda: pool).list_models("own")
