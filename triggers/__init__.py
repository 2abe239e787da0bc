"""Trigger kinds: one module each, loaded through the entry-point group `hub.triggers`."""
