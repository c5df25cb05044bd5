"""Downloads that fail within seconds where there is no network, and say why."""

import contextlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from sat_tf.errors import UserError, reason

# Limits of an answer to a first request, and of a stalled download.
_ANSWER_SECONDS, _STALL_SECONDS = 8.0, 20.0
# Answers of servers that do not know the method of the request, HEAD.
_NO_HEAD = (405, 501)


def why_unreachable(url: str, timeout: float | None = None) -> str:
    """Return why a server does not answer for `url` within some seconds; "" if it does."""
    timeout = timeout or _ANSWER_SECONDS
    reasons = [f"no answer from {urlsplit(url).hostname} within {timeout:.0f} s"]

    def request() -> None:
        try:
            head = urllib.request.Request(url, method="HEAD")
            # Not by `urlopen`, which would use an opener that was installed.
            with urllib.request.build_opener().open(head, timeout=timeout):
                reasons.append("")
        except (OSError, ValueError) as error:
            answers = getattr(error, "code", None) in _NO_HEAD
            why = getattr(error, "reason", error)
            reasons.append("" if answers else getattr(why, "strerror", None) or str(why))

    # The timeout applies to each address of a host, and not to resolving its name, which adds up
    # to minutes; hence the thread, which may outlive this call.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(timeout)
    return reasons[-1]


class _QuickFailure(urllib.request.BaseHandler):
    """Records the URL requested, and fails within seconds if its server does not answer."""

    def __init__(self) -> None:
        self.url = ""

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Check the server; urllib calls this before it opens `request`."""
        self.url = request.full_url
        request.timeout = _STALL_SECONDS
        if reason := why_unreachable(self.url):
            raise urllib.error.URLError(reason)
        return request


@contextlib.contextmanager
def downloads_or_user_error(flag: str) -> Iterator[None]:
    """Turn a download that fails inside the block into a `UserError`, within seconds.

    Args:
      flag: the flag that takes the file instead, such as `--encoder_weights`.
    """
    handler = _QuickFailure()
    urllib.request.install_opener(urllib.request.build_opener(handler))
    try:
        yield
    except Exception as error:
        # Anything that fails after a request, the hash check included, is a failed download.
        if not handler.url:
            raise
        name = handler.url.rsplit("/", 1)[-1]
        # Keras's message repeats the URL before this.
        why = reason(error).rsplit(" -- ", 1)[-1]
        raise UserError(
            f"{flag}=imagenet: can't fetch {name} ({why}); fetch {handler.url} where there is a "
            f"network and give the file: {flag}=PATH/{name}"
        ) from None
    finally:
        urllib.request.install_opener(urllib.request.build_opener())
