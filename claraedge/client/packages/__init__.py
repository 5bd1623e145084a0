"""Calls of the services Packages and Deployments.

Every call also raises what the methods of `Connection` raise.
"""
