"""The HTTP face of the hub: Cloudflare's Workflows REST API, webhooks, health, the project's fetch handler.

The only home of aiohttp's server.
"""
