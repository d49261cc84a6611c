"""The hot path: see README.md in this folder for the life of a packet."""
