"""Floor 1: durable execution on asyncio. Sees only `hub.core`; the store comes in by constructor."""
