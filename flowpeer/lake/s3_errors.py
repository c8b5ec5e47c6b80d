"""What the client of an object store raises: what it means, and how it is reported."""

from __future__ import annotations

from flowpeer.errors import StoreError


def lake_error(error: Exception, address: str, what: str) -> Exception:
    """What went wrong with a store, in one line."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as known

    if not isinstance(error, known.ClientError | known.BotoCoreError | Boto3Error):
        return error
    if isinstance(error, Boto3Error) and isinstance(error.__context__, known.ClientError):
        error = error.__context__
    name, status = code_of(error), status_of(error)
    if isinstance(
        error,
        known.NoCredentialsError | known.PartialCredentialsError | known.CredentialRetrievalError
        | known.ProfileNotFound,
    ):  # fmt: skip
        return StoreError(
            f"{address}: no credentials: {_line(error)}",
            advice="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", exit_code=2,
        )  # fmt: skip
    if name == "NoSuchBucket":
        return StoreError(
            f"{address}: there is no such bucket",
            advice="make it, or correct `path` under [lake]", exit_code=2,
        )  # fmt: skip
    if status in (401, 403):
        return StoreError(
            f"{address}: permission denied: {what} ({name})",
            advice="the credentials must be good, and may s3:ListBucket, GetObject, PutObject and "
            "DeleteObject",
            exit_code=2,
        )
    if status == 301 or name == "AuthorizationHeaderMalformed":
        return StoreError(
            f"{address}: the bucket is in another region", advice="set AWS_REGION", exit_code=2
        )
    if isinstance(
        error, known.HTTPClientError | known.ConnectionError | known.EndpointConnectionError
    ):
        return StoreError(
            f"{address}: cannot be reached: {what}: {_line(error)}",
            advice="see whether the network and AWS_ENDPOINT_URL_S3 are right, then run it again: "
            "nothing is lost",
        )
    return StoreError(f"{address}: {what}: {_line(error)}", advice="run it again: nothing is lost")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def code_of(error: Exception) -> str:
    """What the store calls it; empty where it did not answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def status_of(error: Exception) -> int:
    """Of its answer; 0 where there was none."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return 0
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing(error: Exception) -> bool:
    """No such object."""
    return code_of(error) in ("NoSuchKey", "404", "NotFound")


def is_conflict(error: Exception) -> bool:
    """The condition of a PUT does not hold, or another PUT is under way."""
    return status_of(error) in (404, 409, 412) and code_of(error) != "NoSuchBucket"


def broke_off(error: Exception) -> bool:
    """While octets came: the client repeats only what had no answer."""
    from botocore import exceptions as known

    return isinstance(
        error,
        known.IncompleteReadError | known.ResponseStreamingError | known.ReadTimeoutError
        | known.ConnectionClosedError,
    )  # fmt: skip


def is_unknown(error: Exception) -> bool:
    """Whether a PUT may have been done all the same."""
    from botocore import exceptions as known

    if isinstance(error, known.EndpointConnectionError | known.ConnectTimeoutError):
        return False
    return status_of(error) >= 500 or isinstance(error, known.HTTPClientError)
