"""A client of the Hugging Face hub that runs in its own process.

The process reads a job as one line of JSON from stdin, writes its result as JSON to stdout, and
ends when stdin is closed, so that it does not outlive the process that started it.

It is run as a file, not imported: the package is not loaded, and changed settings of
`huggingface_hub` do not affect other code.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import ssl
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_LISTING_TIMEOUT = 30.0  # seconds for the list of a repository's files
_CHUNK_SIZE = 1 << 16  # bytes; a partially received chunk is lost if the download is stopped
_MAX_SUGGESTIONS = 20  # repositories with a similar name

# The addresses of the metadata services of AWS over IPv6 and of Alibaba Cloud; the addresses of
# other clouds are link-local.
_METADATA_ADDRESSES = ("fd00:ec2::254", "100.100.100.200")

# Classes of exceptions by name, and the kinds of error that are reported for them; the first match
# is used. Importing the classes would require the HTTP library of the installed version.
_ERROR_KINDS = (
    ("_RefusedRedirectError", "redirect"),
    ("_ChangedFileError", "changed"),
    ("_InvalidResponseError", "invalid"),
    ("_CertificateError", "ca_bundle"),
    ("GatedRepoError", "gated"),
    ("RepositoryNotFoundError", "repository"),
    ("RemoteEntryNotFoundError", "changed"),  # the listed file no longer exists
    ("RevisionNotFoundError", "changed"),
    ("HFValidationError", "repository"),
    ("HfHubHTTPError", "status"),
    ("OfflineModeIsEnabled", "offline"),
    ("ImportError", "client_unavailable"),
    ("TransportError", "network"),
    ("JSONDecodeError", "invalid"),
)


class _RefusedRedirectError(Exception):
    """The hub redirects to an address to which no request may be sent."""


class _ChangedFileError(Exception):
    """The file differs from the file that the hub listed with the same name and revision."""


class _InvalidResponseError(Exception):
    """A response that does not come from a hub, such as a network's login page."""


class _CertificateError(Exception):
    """The file of certificate authorities cannot be used."""


def list_files(job: dict[str, Any]) -> dict[str, Any]:
    """Return the commit of a repository, and its files with their sizes and digests."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=job["endpoint"])
    try:
        model_info = api.model_info(job["repo"], files_metadata=True, timeout=_LISTING_TIMEOUT)
        files = [
            {"path": file.rfilename, "size": file.size, "sha256": file.lfs and file.lfs.sha256}
            for file in model_info.siblings or ()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise _InvalidResponseError("its file list is incomplete") from error
    return {"commit": model_info.sha, "files": files}


def fetch(job: dict[str, Any]) -> dict[str, Any]:
    """Download a file; a partial file from an earlier attempt is continued."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented

    endpoint = job["endpoint"]
    url = hf_hub_url(job["repo"], job["path"], revision=job["commit"], endpoint=endpoint)
    metadata = get_hf_file_metadata(url, endpoint=endpoint)
    if metadata.etag is None:
        raise _InvalidResponseError("it has no digest")
    if metadata.etag != job["sha256"]:
        raise _ChangedFileError
    # Sizes and ranges refer to the uncompressed file.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    part = Path(job["part"])
    while True:
        start = part.stat().st_size if part.exists() else 0
        try:
            _download_remaining_bytes(metadata.location, part, headers, job["size"])
        except Exception as error:
            # `http_get` resumes after most failures, but not if the connection is reset or ends
            # normally.
            is_cut = _has_base(error, "NetworkError") or "Consistency check" in str(error)
            if not (is_cut and start < part.stat().st_size < job["size"]):
                raise
        else:
            return {}


def _download_remaining_bytes(url: str, part: Path, headers: dict[str, str], size: int) -> None:
    """Download the part of a file that is missing."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get

    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_SIZE
    with part.open("ab") as file:
        http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=size)


def _open_session(job: dict[str, Any]) -> None:
    """Make `huggingface_hub` use a client that checks requests and responses."""
    import truststore
    from huggingface_hub import get_session, set_client_factory

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if job["ca_bundle"]:
        if not os.path.isfile(job["ca_bundle"]):  # reading a pipe might never end
            raise _CertificateError("it is not an existing regular file")
        try:
            context.load_verify_locations(job["ca_bundle"])
        except OSError as error:
            raise _CertificateError(error.strerror) from error
    # The class of the session depends on the HTTP library of the installed version.
    default_session = get_session()
    client_class, hooks = type(default_session), default_session.event_hooks
    first_origin = _origin(job["endpoint"])

    def check_request(request: Any) -> None:  # noqa: ANN401 - see above
        """Allow requests to the first host; other hosts require https and receive no token."""
        if (origin := _origin(str(request.url))) == first_origin:
            return
        request.headers.pop("authorization", None)
        scheme, host, _ = origin
        if scheme != "https" or _is_forbidden(host):
            raise _RefusedRedirectError(f"{scheme}://{host}")

    def check_response(response: Any) -> None:  # noqa: ANN401 - see above
        """Refuse an HTML page that is sent instead of a file or a list."""
        content_type = response.headers.get("content-type", "")
        if response.is_success and content_type.partition(";")[0].strip().lower() == "text/html":
            raise _InvalidResponseError("it is an HTML page")

    def new_client() -> Any:  # noqa: ANN401 - see above
        return client_class(
            verify=context,
            follow_redirects=True,
            timeout=None,  # each request sets its own timeout
            event_hooks={
                "request": [*hooks["request"], check_request],
                "response": [*hooks["response"], check_response],
            },
        )

    set_client_factory(new_client)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return parts.scheme, parts.hostname or "", port


def _is_forbidden(host: str) -> bool:
    """Return whether a host is a link-local address or another address of a metadata service."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_link_local or str(address) in _METADATA_ADDRESSES
    return False


def _has_base(error: Exception, name: str) -> bool:
    return any(base.__name__ == name for base in type(error).__mro__)


def _error_report(error: Exception, job: dict[str, Any]) -> dict[str, Any]:
    """Return the details of an exception for the parent process."""
    kinds = (kind for name, kind in _ERROR_KINDS if _has_base(error, name))
    kind = next(kinds, "disk" if isinstance(error, OSError) and error.errno else "other")
    status = getattr(getattr(error, "response", None), "status_code", None)
    similar = _similar_repositories(job) if kind == "repository" else []
    text = str(error).strip().partition("\n")[0]
    return {"kind": kind, "text": text, "status": status, "similar": similar}


def _similar_repositories(job: dict[str, Any]) -> list[str]:
    """Return repositories with similar names; empty if the hub lists none."""
    from huggingface_hub import HfApi

    owner, _, name = job["repo"].partition("/")
    word = re.split(r"[-_.]", name)[0]
    api = HfApi(endpoint=job["endpoint"])
    try:
        searches = (  # a misspelled owner, a misspelled name
            api.list_models(search=name, limit=_MAX_SUGGESTIONS),
            api.list_models(author=owner, search=word, limit=_MAX_SUGGESTIONS),
        )
        return [model.id for models in searches for model in models]
    except Exception:  # noqa: BLE001 - a failed suggestion must not raise another error
        return []


def _exit_with_parent() -> None:
    """End the process when stdin is closed, which happens even if the parent is killed."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Run the job on stdin."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        _open_session(job)
        result = {"list": list_files, "fetch": fetch}[job["action"]](job)
    except Exception as error:  # noqa: BLE001 - the parent reports every exception
        result = {"error": _error_report(error, job)}
    sys.stdout.write(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # otherwise, the thread that reads stdin would delay the exit


if __name__ == "__main__":
    main()
