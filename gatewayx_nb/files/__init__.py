"""Reads and writes files: locations, permissions, change stamps, atomic writes."""

from gatewayx_nb.files.atomic import (
    atomic_write,
    file_lock,
    fsync_directory,
    make_ignored_folder,
    remove_stale_temporaries,
    write_errors_as_config_error,
)
from gatewayx_nb.files.locations import (
    ConfigDir,
    Owner,
    StatStamp,
    display_path,
    find_project,
    quoted_path,
    shipped_path,
    stat_stamp,
    user_config_dir,
)
from gatewayx_nb.files.permissions import (
    drop_reason_if_modes_unreliable,
    endpoint_file_problem,
    link_in,
    open_private,
    ownership_problem,
    permission_problem,
    refuse_link_in,
    refuse_links,
    refuse_unsafe,
    restrict_to_owner,
)
from gatewayx_nb.files.reading import MAX_TEXT_BYTES, parse_toml, read_limited, read_toml
from gatewayx_nb.files.stamps import FileStamp

__all__ = [
    "MAX_TEXT_BYTES",
    "ConfigDir",
    "FileStamp",
    "Owner",
    "StatStamp",
    "atomic_write",
    "display_path",
    "drop_reason_if_modes_unreliable",
    "endpoint_file_problem",
    "file_lock",
    "find_project",
    "fsync_directory",
    "link_in",
    "make_ignored_folder",
    "open_private",
    "ownership_problem",
    "parse_toml",
    "permission_problem",
    "quoted_path",
    "read_limited",
    "read_toml",
    "refuse_link_in",
    "refuse_links",
    "refuse_unsafe",
    "remove_stale_temporaries",
    "restrict_to_owner",
    "shipped_path",
    "stat_stamp",
    "user_config_dir",
    "write_errors_as_config_error",
]
