"""Fixtures that several test modules share."""

import pytest

from stack import Deployment


@pytest.fixture(scope="module")
def deployment():
    """Twinlake deployed in two Regions of a local AWS, one deployment for each module."""
    with Deployment() as running:
        yield running
