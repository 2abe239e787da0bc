"""One project for the three programs; each would be a worker of its own on Cloudflare."""

from delivery import DeliveryWorkflow
from newsletter import NewsletterWorkflow
from orders import Default, OrderWorkflow

__all__ = ["Default", "DeliveryWorkflow", "NewsletterWorkflow", "OrderWorkflow"]
