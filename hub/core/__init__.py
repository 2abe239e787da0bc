"""Floor 0: the pure rules of the hub. Standard library only (and the JSON library in `codec`); no I/O, no event loop."""
