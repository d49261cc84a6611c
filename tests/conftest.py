import signal

import pytest
from hypothesis import HealthCheck, settings
from nodes import make_node
from xdist.workermanage import NodeManager

# no test asks the clock, not even how long an example takes to draw
settings.register_profile("fastnat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastnat")


# a shell that starts the tests in the background has Ctrl-C ignored, and some of them send one
signal.signal(signal.SIGINT, signal.default_int_handler)

# a worker writes what it has covered as it ends; on a busy machine xdist's 10 s are over before [s]
NodeManager.EXIT_TIMEOUT = 300


@pytest.fixture
def node():
    return make_node()
