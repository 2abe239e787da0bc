"""Connector kinds: one module each, loaded through the entry-point group `hub.connectors`."""
