"""Configuration: a TOML file, then `CLARAEDGE_*`, then flags; decoded into frozen structs.

A module for each noun has its sections, and what can be wrong with them beyond types.
"""

from claraedge.config.disk import Disk, Retention
from claraedge.config.engine import Engine, Inference, Jobs, Services
from claraedge.config.images import Credential, Images
from claraedge.config.inbox import Inbox, Trigger
from claraedge.config.load import VARIABLES, default_folders, default_path, load_config
from claraedge.config.model import Api, Config, Gpu, Log, Outbox, PipelineFiles, Podman
from claraedge.config.names import Names

__all__ = [
    "VARIABLES",
    "Api",
    "Config",
    "Credential",
    "Disk",
    "Engine",
    "Gpu",
    "Images",
    "Inbox",
    "Inference",
    "Jobs",
    "Log",
    "Names",
    "Outbox",
    "PipelineFiles",
    "Podman",
    "Retention",
    "Services",
    "Trigger",
    "default_folders",
    "default_path",
    "load_config",
]
