"""The dashboard: pages rendered on the server from what the engine port tells. Reads only; changes nothing."""
