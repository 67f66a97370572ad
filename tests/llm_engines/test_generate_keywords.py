"""The arguments of a wrapped `generate`."""

import pytest


@pytest.mark.parametrize(
    ("parameters", "received"),
    [
        ("prompt, images=(), **kwargs", "1 image"),
        ("prompt, **kwargs", "in messages"),
    ],
)
def test_images_are_passed_by_name_to_an_engine_that_names_them(project, parameters, received):
    """An engine may name `images`; they are also in its messages."""
    body = (
        "    features = {'images'}\n\n"
        f"    async def generate(self, {parameters}):\n"
        "        if 'images' in locals():\n"
        "            return f'{len(images)} image'\n"
        "        return 'in messages' if kwargs['messages'][0].images else 'none'\n"
    )
    project.engine("seeing", body=body)
    png = bytes.fromhex("89504e470d0a1a0a")

    with project.pool() as pool:
        assert pool.ask("What is it?", "seeing", images=png).text == received
