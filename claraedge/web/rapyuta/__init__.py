"""The routes that the Python SDK of rapyuta.io calls, for programs that use it. Source: rapyuta-io
1.4.0 and 1.17.1.

Each is a thin translation to Packages, Deployments and Devices, which are the interface of
claraedge itself. docs/packages.md says what differs from the cloud.
"""
