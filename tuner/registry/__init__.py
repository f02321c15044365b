"""The registry of promoted adapters: content-addressed versions, and aliases that point to them.

`Registry` is the folder, `RegistryState` what it holds at one moment; the rest are the words these speak in.
"""

from tuner.registry.checks import Allowance
from tuner.registry.manifest import FileEntry, Manifest, Origin, Version
from tuner.registry.names import CHAMPION, AdapterName, Reference
from tuner.registry.registry import Registry, Stamp
from tuner.registry.state import Adapter, Entry, RegistryState
from tuner.registry.target import Alias, Change, Limits, Share, Target

__all__ = [
    "CHAMPION",
    "Adapter",
    "AdapterName",
    "Alias",
    "Allowance",
    "Change",
    "Entry",
    "FileEntry",
    "Limits",
    "Manifest",
    "Origin",
    "Reference",
    "Registry",
    "RegistryState",
    "Share",
    "Stamp",
    "Target",
    "Version",
]
