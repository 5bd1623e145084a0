"""Readable paths, `/v1/...`, by the rules of protos/http.yaml."""
