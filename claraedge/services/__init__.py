"""Containers that serve jobs: services of pipelines, the inference server, and their networks."""
