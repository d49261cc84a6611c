import pytest
from nodes import make_node


@pytest.fixture
def node():
    return make_node()
