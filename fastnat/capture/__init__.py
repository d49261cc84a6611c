"""Captures: pcap and pcapng read and written, fragments reassembled, packets replayed through an engine."""

from .pcap import Batch, Captured, Writer, ip_of, read, read_batches

__all__ = ["Batch", "Captured", "Writer", "ip_of", "read", "read_batches"]
