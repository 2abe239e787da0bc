"""Measures the hub beside yardsticks that do the least possible work on the same machine, disk and loop: `python -m tests.bench`.

A figure alone says more about the machine than about the hub; the ratio to its yardstick, taken in the same run, is what to compare.
"""
