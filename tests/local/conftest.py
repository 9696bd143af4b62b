"""Fixtures that several test modules share."""

import pytest

from stack import Deployment


@pytest.fixture(scope="module")
def deployment():
    """Twinlake deployed in two Regions of a local AWS, one deployment for each module.

    At its end, each call of a function is one that its role allows."""
    with Deployment(records_calls=True) as running:
        yield running
        running.assert_calls_are_allowed()
