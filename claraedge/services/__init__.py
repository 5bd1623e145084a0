"""Containers that run beside jobs: services of pipelines, the inference server, their networks."""
