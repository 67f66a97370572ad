"""The catalog of selectable models, and its refresh after changes to keys and engine files."""

import json

import pytest

from gatewayx_nb.comparisons import CatalogItem, ModelCatalog
from gatewayx_nb.errors import AuthenticationError
from gatewayx_nb.testing import Send, Server, reply

MODELS_BODY = json.dumps(
    {"data": [{"id": "b-large"}, {"id": "a-small"}, {"id": "<img src=x>"}]}
).encode()


@pytest.fixture
def catalog(project):
    """Yield a project's catalog after its first refresh."""
    project.engine("mine", "x")
    with project.pool() as pool:
        catalog = ModelCatalog(lambda: pool)
        catalog.refresh()
        yield catalog


def names(items):
    """Return the items' references."""
    return [item.reference for item in items]


def test_ready_engines_come_first_and_the_rest_have_a_note(catalog):
    """Ready engines come first; other engines show what is missing and how to fix it."""
    items = catalog.search()
    ready = [item for item in items if item.is_ready]
    assert items[: len(ready)] == ready
    assert {"mine", "mock"} <= set(names(ready))
    grok = next(item for item in items if item.reference == "grok")
    assert (grok.is_ready, grok.state, grok.note) == (
        False,
        "no key",
        "Set GATEWAYX_GROK_API_KEY in the environment or in config/secrets/.env.local.",
    )


def test_a_selected_engine_that_does_not_match_is_unchanged(catalog):
    """A selected engine keeps its model and its list of models if the query does not match it."""
    (engine,) = (item for item in catalog.search() if item.reference == "mine")
    assert (engine.model, engine.is_engine) == ("mine", True)
    assert catalog.search("mock", ["mine"])[0] == engine


def test_refresh_returns_whether_anything_changed(project, catalog):
    """`refresh` returns whether a key or an engine file has changed."""
    assert not catalog.refresh()
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789abcdef\n")
    assert catalog.refresh()
    assert "grok" in catalog.ready_engines
    (project.engines / "mine_engine.py").unlink()
    assert catalog.refresh()
    assert "mine" not in names(catalog.search())


def test_every_word_of_a_search_must_match(catalog):
    """An item matches if each word is in its reference, model or state, in any case."""
    assert names(catalog.search("GROK")) == ["grok"]
    assert names(catalog.search("mine")) == ["mine"]
    assert catalog.search("mine key") == []
    assert "grok" in names(catalog.search("no key"))


def test_selected_models_remain_listed(catalog):
    """Selected models are listed above the matches, even if their engine was removed."""
    assert names(catalog.search("mock", ["mine", "mock"])) == ["mine", "mock"]
    assert catalog.search("mock", ["lost:one"])[0] == CatalogItem(
        "lost:one", is_ready=False, state="gone", note="`gatewayx_nb.status()` lists the engines."
    )


def test_a_complete_reference_can_be_selected(catalog):
    """A complete reference to a ready engine can be selected even if its model is not listed."""
    assert catalog.search("mine:large") == [CatalogItem("mine:large", state="as typed")]
    assert catalog.search("grok:large") == []


def test_a_providers_models_are_listed_on_demand(project):
    """A provider's models are listed on demand below their engine, sorted and searchable.

    Invalid names are skipped.
    """
    with Server(lambda _: [Send(reply(MODELS_BODY))]) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY=k-12345\nGATEWAYX_OWN_BASE_URL={server.url}\n")
        with project.pool() as pool:
            catalog = ModelCatalog(lambda: pool)
            catalog.refresh()
            assert "own:a-small" not in names(catalog.search())
            assert catalog.load_models("own") == 2
            assert names(catalog.search("own")) == ["own", "own:a-small", "own:b-large"]
            assert names(catalog.search("small")) == ["own:a-small"]


def test_an_error_while_listing_models_is_raised(project):
    """If a provider's list of models fails, `load_models` raises its error."""
    with Server([Send(reply(b"{}", 401))]) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY=k-12345\nGATEWAYX_OWN_BASE_URL={server.url}\n")
        with project.pool() as pool, pytest.raises(AuthenticationError):
            ModelCatalog(lambda: pool).load_models("own")
