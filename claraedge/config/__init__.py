"""Configuration: a TOML file, then `CLARAEDGE_*`, then flags; decoded into frozen structs.

A module for each noun has its sections, and what can be wrong with them beyond types.
"""

from claraedge.config.deployments import DeploymentsSettings
from claraedge.config.disk import DiskSettings, RetentionSettings
from claraedge.config.engine import (
    EngineSettings,
    InferenceSettings,
    JobsSettings,
    ServicesSettings,
)
from claraedge.config.images import CredentialSettings, ImagesSettings
from claraedge.config.inbox import InboxSettings, TriggerSettings
from claraedge.config.load import VARIABLES, default_folders, default_path, load_config
from claraedge.config.model import (
    ApiSettings,
    Config,
    GpuSettings,
    HttpSettings,
    LogSettings,
    OutboxSettings,
    PipelinesSettings,
    PodmanSettings,
    TlsSettings,
)
from claraedge.config.names import NamesSettings

__all__ = [
    "VARIABLES",
    "ApiSettings",
    "Config",
    "CredentialSettings",
    "DeploymentsSettings",
    "DiskSettings",
    "EngineSettings",
    "GpuSettings",
    "HttpSettings",
    "ImagesSettings",
    "InboxSettings",
    "InferenceSettings",
    "JobsSettings",
    "LogSettings",
    "NamesSettings",
    "OutboxSettings",
    "PipelinesSettings",
    "PodmanSettings",
    "RetentionSettings",
    "ServicesSettings",
    "TlsSettings",
    "TriggerSettings",
    "default_folders",
    "default_path",
    "load_config",
]
