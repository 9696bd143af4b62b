import pytest

from stack import Local


@pytest.fixture(scope="module")
def local():
    with Local() as running:
        yield running
