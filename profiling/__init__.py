"""Latency, throughput and memory, measured side by side."""
