"""Deployments: packages that are kept running on this device until they are undeployed."""
