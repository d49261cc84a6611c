"""Headers of the flows of a run, gathered and answered record by record: NumPy takes ten calls for a slice of virtual time.

Records are rows of words; where their fields lie is what the dtypes of a family say.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from ..dtypes import Verdict

cdef enum:
    # bytes of a port, a length, and the number of an interface
    PORT = 2

cdef uint8_t DROP = Verdict.DROP


cdef class Headers:
    """What a run does with headers of one family: records, those of dtypes.records_of."""

    # bytes of an address, of a header and of a result
    cdef Py_ssize_t addr, packet, result
    # places in a header
    cdef Py_ssize_t src, dst, sport, dport, iface, length, proto, flags
    # places in a result
    cdef Py_ssize_t verdict, out_src, out_dst, out_sport, out_dport, out_iface

    def __init__(self, records):
        at = {name: place for name, (_, place) in records.PACKET.fields.items()}
        self.src, self.dst, self.sport, self.dport = at["src"], at["dst"], at["sport"], at["dport"]
        self.iface, self.length, self.proto, self.flags = at["iface"], at["length"], at["proto"], at["tcp_flags"]
        at = {name: place for name, (_, place) in records.RESULT.fields.items()}
        self.verdict, self.out_iface = at["verdict"], at["out_iface"]
        self.out_src, self.out_dst, self.out_sport, self.out_dport = at["src"], at["dst"], at["sport"], at["dport"]
        self.addr, self.packet, self.result = records.ADDR.itemsize, records.PACKET.itemsize, records.RESULT.itemsize

    def gather(self, const uint64_t[:, ::1] rows, const int64_t[::1] slots, uint8_t flags, uint64_t[:, ::1] out, Py_ssize_t begin):
        """Copy the headers of some slots to out[begin:], with these TCP flags. rows, out: PACKET as uint64[n, itemsize / 8].

        Raises ValueError where a slot has no row, or out too few.
        """
        cdef Py_ssize_t k, n = slots.shape[0]
        cdef uint8_t *packet
        if 8 * rows.shape[1] != self.packet or 8 * out.shape[1] != self.packet or begin < 0 or out.shape[0] - begin < n:
            raise ValueError("no room for these headers")
        for k in range(n):
            if not 0 <= slots[k] < rows.shape[0]:
                raise ValueError(f"there is no slot {slots[k]}")
            packet = <uint8_t *>&out[begin + k, 0]
            memcpy(packet, &rows[slots[k], 0], self.packet)
            packet[self.flags] = flags

    def opened(self, const uint64_t[:, ::1] packets, const uint64_t[:, ::1] results, const int64_t[::1] slots,
               uint64_t[:, ::1] answers, uint8_t[::1] is_open):
        """Note what became of first packets, those of a slot each: its answer's header, and whether its flow is open.

        packets, results, answers: PACKET and RESULT as uint64[n, itemsize / 8]. Returns int64[m], the slots of open flows.
        Raises ValueError where arrays do not belong together.
        """
        cdef Py_ssize_t k, slot, n = slots.shape[0]
        cdef Py_ssize_t m = 0
        cdef const uint8_t *packet
        cdef const uint8_t *out
        cdef uint8_t *answer
        if not (packets.shape[0] == results.shape[0] == n) or answers.shape[0] != is_open.shape[0]:
            raise ValueError("not one header and result for each slot")
        if 8 * packets.shape[1] != self.packet or 8 * answers.shape[1] != self.packet or 8 * results.shape[1] != self.result:
            raise ValueError("headers or results of another family")
        good = np.empty(n, np.int64)
        cdef int64_t[::1] left = good
        for k in range(n):
            slot = slots[k]
            if not 0 <= slot < answers.shape[0]:
                raise ValueError(f"there is no slot {slot}")
            packet = <const uint8_t *>&packets[k, 0]
            out = <const uint8_t *>&results[k, 0]
            answer = <uint8_t *>&answers[slot, 0]
            memcpy(answer + self.src, out + self.out_dst, self.addr)
            memcpy(answer + self.dst, out + self.out_src, self.addr)
            memcpy(answer + self.sport, out + self.out_dport, PORT)
            memcpy(answer + self.dport, out + self.out_sport, PORT)
            # what the node sends itself is answered from the interface that it left by
            memcpy(answer + self.iface, out + self.out_iface, PORT)
            memcpy(answer + self.length, packet + self.length, PORT)
            answer[self.proto] = packet[self.proto]
            is_open[slot] = out[self.verdict] != DROP
            if is_open[slot]:
                left[m] = slot
                m += 1
        return good[:m]
