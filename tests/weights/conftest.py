import random

import pytest

from tests.weights.fake_wheel import make_fake_wheel


@pytest.fixture
def fake_wheel(tmp_path):
    """Return a wheel with 200 kB of incompressible weights."""
    return make_fake_wheel(tmp_path, b"GGUF" + random.Random(1).randbytes(200_000))
