"""The pages of the device and of what is installed on it: images, models, packages, deployments."""
