import pytest

from gatewayx_nb.llm_engines import GeminiEngine
from gatewayx_nb.model_registry.static_metadata import StaticMetadata, StaticMetadataReader


@pytest.mark.parametrize(
    ("line", "requires_key"),
    [
        ("requires_key = False", False),
        ("requires_key: ClassVar[bool] = False  # local", False),
        ("requires_key=False", False),
        ("requires_key = True", True),
        ("# requires_key = False", True),
        ("requires_key = Falsehood", True),
        ("model_name = 'requires_key = False'", True),
    ],
)
def test_requires_key_is_read_from_a_literal(tmp_path, line, requires_key):
    """`requires_key` is read only from a literal assigned in the class."""
    path = tmp_path / "a_engine.py"
    path.write_text(f"class A:\n    {line}\n")

    assert StaticMetadataReader().read(path).requires_key is requires_key


def test_model_name_is_read_from_a_constructor(tmp_path):
    """`model_name` is read from an assignment to the instance in a constructor."""
    path = tmp_path / "a_engine.py"
    path.write_text("class A:\n    def __init__(self):\n        self.model_name = 'm'\n")

    assert StaticMetadataReader().read(path).model_name == "m"


def test_a_changed_file_is_read_again(tmp_path):
    """A changed file is read again, and a missing file has the default metadata."""
    path, reader = tmp_path / "a_engine.py", StaticMetadataReader()
    path.write_text("class A:\n    requires_key = False\n")
    assert not reader.read(path).requires_key

    path.write_text("class A:\n    requires_key = True\n")
    assert reader.read(path).requires_key

    path.unlink()
    assert reader.read(path) == StaticMetadata()


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("class A(LLMEngine):\n    x = 1\n", {"system", "history"}),
        ("class A(llm_engines.GeminiEngine):\n    x = 1\n", GeminiEngine.features),
        ("class A(Unknown):\n    features = frozenset({'images'})\n", {"images"}),
        ("class A(LLMEngine):\n    features = {\n        'images',\n        \"embed\",\n    }\n",
         {"images", "embed"}),
        ("class A(LLMEngine):\n    features = LLMEngine.features | {'embed'}\n",
         {"system", "history", "embed"}),
        ("class A(LLMEngine):\n    features = frozenset()  # not 'images'\n", set()),
        ("class A(LLMEngine):\n    features = {'images', 'telepathy'}\n", {"images"}),
    ],
)  # fmt: skip
def test_features_are_read_from_the_class_or_its_base(tmp_path, text, features):
    """The features are those that the source assigns, or those of the base class."""
    path = tmp_path / "a_engine.py"
    path.write_text(text)
    assert StaticMetadataReader().read(path).features == features
