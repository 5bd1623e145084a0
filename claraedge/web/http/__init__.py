"""HTTP itself: connections with limits, requests, answers, routes, and who may call."""
