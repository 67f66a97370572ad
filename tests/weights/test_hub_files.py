from dataclasses import dataclass

import pytest

from gatewayx_nb.errors import ConfigError, ModelNotFoundError, TransportError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.weights.hub_files import (
    HubFile,
    HubReference,
    choose,
    listed_files,
    model_name,
    parse_reference,
    variants,
)

REPO = "bartowski/Llama-3.2-1B-Instruct-GGUF"


def files(*paths: str, size: int = 1) -> list[HubFile]:
    """Return files of increasing size."""
    return [HubFile(path, size + number, "d" * 64) for number, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf:me/Tiny-GGUF", HubReference("me/Tiny-GGUF")),
        ("hf:me/Tiny-GGUF:q4_k_m", HubReference("me/Tiny-GGUF", "q4_k_m")),
        ("hf:me/Tiny:sub/Tiny-Q8_0.gguf", HubReference("me/Tiny", "sub/Tiny-Q8_0.gguf")),
    ],
)
def test_a_reference_is_a_repository_and_a_choice(text, reference):
    """A reference has a repository and a choice: a quantization, a path or nothing."""
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("me/Tiny-GGUF", "hf:me/Tiny-GGUF"),
        ("hf.co/me/Tiny-GGUF:Q4_K_M", "hf:me/Tiny-GGUF:Q4_K_M"),
        ("https://huggingface.co/me/Tiny-GGUF/tree/main", "hf:me/Tiny-GGUF"),
        ("hf://me/Tiny-GGUF", "hf:me/Tiny-GGUF"),
        ("hf:Tiny", "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"),
        ("hf:", "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"),
        ("hf:../../etc", "hf:bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"),
    ],
)
def test_a_reference_in_another_form_is_refused_with_the_right_one(text, suggestion):
    """For a reference in the form of another tool or a web page, the error shows the right form."""
    with pytest.raises(UsageError, match="must be `hf:OWNER/REPO`") as caught:
        parse_reference(text)
    assert caught.value.hint == Hint("pull", model=suggestion)


@dataclass(frozen=True)
class QuantCase:
    """The path of a file, and the quantization that it names."""

    path: str
    quant: str


@pytest.mark.parametrize(
    "case",
    [
        QuantCase("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        QuantCase("qwen2.5-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        QuantCase("gemma-3-4b-it-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        QuantCase("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        QuantCase("model.Q5_0.gguf", "Q5_0"),
        QuantCase("Phi-4-Q4_0_4_8.gguf", "Q4_0_4_8"),
        QuantCase("BF16/DeepSeek-00001-of-00002.gguf", "BF16"),
        QuantCase("BF16/DeepSeek-00002-of-00002.gguf", "BF16"),
        QuantCase("SmolLM2-fp16.gguf", "FP16"),
        QuantCase("ggml-model-f32.gguf", "F32"),
        QuantCase("model.gguf", ""),
        QuantCase("Q8model.gguf", ""),
    ],
    ids=lambda case: case.path,
)
def test_the_quantization_is_read_from_the_name(case):
    """The last quantization in the path counts, in upper or lower case."""
    (variant,) = variants(files(case.path))
    assert variant.quant == case.quant


def test_projectors_and_other_files_are_not_models():
    """Only GGUF files with a language model can be chosen."""
    paths = (
        "README.md",
        "mmproj-model-f16.gguf",
        "imatrix.gguf",
        "a/mmproj-F16.gguf",
        "x-Q8_0.gguf",
    )
    assert [variant.stem for variant in variants(files(*paths))] == ["x-Q8_0"]


@dataclass(frozen=True)
class Choice:
    """The files of a repository, the typed choice, and the chosen model."""

    paths: tuple[str, ...]
    typed: str
    chosen: str


@pytest.mark.parametrize(
    "case",
    [
        Choice(("m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"), "", "m-Q4_K_M"),
        Choice(("m-Q2_K.gguf", "m-Q5_K_M.gguf", "m-Q8_0.gguf"), "", "m-Q5_K_M"),
        Choice(("m-IQ1_S.gguf", "m-IQ2_M.gguf"), "", "m-IQ2_M"),
        Choice(("m-F16.gguf",), "", "m-F16"),
        Choice(("model.gguf",), "", "model"),
        Choice(("m-Q2_K.gguf", "m-Q8_0.gguf"), "q2_k", "m-Q2_K"),
        Choice(("m-Q2_K.gguf", "m-Q8_0.gguf"), "M-Q8_0.gguf", "m-Q8_0"),
        Choice(("Q8_0/m.gguf", "Q2_K/m.gguf"), "Q8_0/m.gguf", "Q8_0/m"),
        Choice(("m-Q8_0-00001-of-00001.gguf",), "m-Q8_0-00001-of-00001.gguf", "m-Q8_0"),
    ],
)
def test_a_model_is_chosen(case):
    """Without a typed choice, the model is Q4_K_M or the smallest that loses little quality."""
    assert choose(HubReference(REPO, case.typed), files(*case.paths)).stem == case.chosen


def test_all_parts_of_a_split_model_are_chosen():
    """A split model has its parts in order, and its size is the sum of the parts' sizes."""
    paths = [f"Q4_K_M/m-Q4_K_M-0000{number}-of-00003.gguf" for number in (3, 1, 2)]
    variant = choose(HubReference(REPO), files(*paths, size=5))
    assert [file.path[-19:] for file in variant.files] == [
        f"0000{number}-of-00003.gguf" for number in (1, 2, 3)
    ]
    assert variant.size == 5 + 6 + 7


def test_a_split_model_without_one_part_is_refused():
    """A model is refused if the hub lacks one of its parts."""
    paths = ("m-Q4_K_M-00001-of-00003.gguf", "m-Q4_K_M-00003-of-00003.gguf")
    with pytest.raises(ConfigError, match="split into 3 files, of which the hub has 2"):
        choose(HubReference(REPO), files(*paths))


def test_a_file_without_a_digest_is_refused():
    """A file without a digest is refused, because it could not be checked."""
    with pytest.raises(ConfigError, match="no SHA-256 digest for 'Q8_0'"):
        choose(HubReference(REPO), [HubFile("m-Q8_0.gguf", 5, "")])


def test_an_unknown_quantization_lists_the_others():
    """The error for an unknown quantization lists the models and suggests the most similar one."""
    with pytest.raises(
        ModelNotFoundError, match=r"no 'Q4_K_N'; it has Q2_K \(1 byte.*Did you mean"
    ):
        choose(HubReference(REPO, "Q4_K_N"), files("m-Q2_K.gguf", "m-Q4_K_M.gguf"))


@pytest.mark.parametrize(
    "path", ["..\\..\\x-Q8_0.gguf", "C:x-Q8_0.gguf", "x\n-Q8_0.gguf", ".gguf", "x-Q8_0.gguf/"]
)
def test_a_path_outside_the_folder_is_not_a_model(path):
    """File names that could lead outside the models folder are refused on every system."""
    assert variants(files(path)) == []


@pytest.mark.parametrize("digest", [None, "", "../../../../x", "D" * 64, "d" * 63, 5])
def test_an_invalid_digest_is_ignored(digest):
    """A digest is validated, because part of it becomes a folder name."""
    (file,) = listed_files([{"path": "x-Q8_0.gguf", "size": 5, "sha256": digest}])
    with pytest.raises(ConfigError, match="no SHA-256 digest"):
        choose(HubReference(REPO), [file])


@pytest.mark.parametrize("row", [{}, {"path": "x", "size": "y", "sha256": ""}, 3])
def test_an_invalid_file_list_is_refused(row):
    """A hub's file list is validated before it is used."""
    with pytest.raises(TransportError, match="sent an invalid response"):
        listed_files([row])


def test_several_models_with_one_quantization_are_listed():
    """Two models with the same quantization are distinguished by their files."""
    with pytest.raises(UsageError, match=r"several models: big-Q4_K_M .*, small-Q4_K_M") as caught:
        choose(HubReference(REPO), files("big-Q4_K_M.gguf", "small-Q4_K_M.gguf"))
    assert caught.value.hint == Hint("pull", model=f"hf:{REPO}:big-Q4_K_M")


def test_a_repository_without_gguf_files_is_refused():
    """A repository that has its model only in another format raises an error."""
    with pytest.raises(ModelNotFoundError, match=r"no GGUF file.*separate repositories"):
        choose(HubReference("meta-llama/Llama-3.2-1B"), files("model.safetensors"))


@pytest.mark.parametrize(
    ("repo", "path", "name"),
    [
        (REPO, "Llama-3.2-1B-Instruct-Q4_K_M.gguf", "llama-3.2-1b-instruct-q4_k_m"),
        ("me/tiny-gguf", "x/tiny-UD-Q2_K_XL.gguf", "tiny-ud-q2_k_xl"),
        ("me/tiny-Q8_0-GGUF", "tiny-q8_0.gguf", "tiny-q8_0"),
        ("me/tiny-GGUF", "tiny.gguf", "tiny"),
        ("me/tiny-GGUF", "model.gguf", "tiny-model"),
        ("me/tiny-GGUF", "tiny-chat v2.gguf", "tiny-chat-v2"),
    ],
)
def test_the_name_is_short(repo, path, name):
    """The name combines the repository and the quantization, and can be typed without quotes."""
    (variant,) = variants(files(path))
    assert model_name(repo, variant) == name
    assert model_name(repo, variant, with_owner=True) == f"{repo.partition('/')[0].lower()}-{name}"
