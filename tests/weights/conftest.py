import random

import pytest

from tests.weights.shelf import make_shelf


@pytest.fixture
def shelf(tmp_path):
    """Return a shelf with 200 kB of incompressible weights."""
    return make_shelf(tmp_path, b"GGUF" + random.Random(1).randbytes(200_000))
