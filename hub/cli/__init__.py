"""Floor 2: the `hub` command, a client of the REST API on a terminal. The home of typer, rich and aiohttp's client side."""
