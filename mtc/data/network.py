"""Is there a network? Asked before calls that would try for minutes without one."""

import threading
import urllib.error
import urllib.request


def reachable(url: str, seconds: float = 5.0) -> bool:
  """Whether `url` answers at all within `seconds`, through the proxies of the environment."""
  answered = threading.Event()

  def ask() -> None:
    try:
      urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
    except urllib.error.HTTPError:
      pass  # an error page is an answer
    except (OSError, ValueError):
      return
    answered.set()

  # In a thread, because looking up a name has no time limit.
  asking = threading.Thread(target=ask, daemon=True)
  asking.start()
  asking.join(seconds)
  return answered.is_set()
