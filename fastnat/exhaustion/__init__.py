"""The exhaustion laboratory: workloads that open flows until SNAT ports run out, and what is learnt from them."""

from .drawing import client_addresses
from .outcome import COLUMNS, PORTS, Outcome, Row, remedy, verdict
from .simulation import run
from .workload import Workload, zipf

__all__ = ["COLUMNS", "PORTS", "Outcome", "Row", "Workload", "client_addresses", "remedy", "run", "verdict", "zipf"]
