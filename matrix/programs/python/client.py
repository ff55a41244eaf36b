"""What the Python programs share: the checks, and how an outcome is said. A line is one operation."""
import importlib.metadata
import os
import sys

WORK, FORM = sys.argv[1], sys.argv[2]
RECIPE = FORM == "recipe"
FIRST, CLIENTS, OPERATIONS = (int(os.environ[name]) for name in ("FIRST", "CLIENTS", "OPERATIONS"))
URL = os.environ["DATABASE_URL"]


class Wrong(Exception):
    """An answer that is not what it must be."""


def version(package):
    say("version", importlib.metadata.version(package))


def say(outcome, text=""):
    sys.stdout.write(f"{outcome} {' '.join(str(text).split())[:300]}".rstrip() + "\n")
    sys.stdout.flush()


def expect(what, got, want):
    if got != want:
        raise Wrong(f"{what} is {got!r}, not {want!r}")


def plan(client, n):
    """The tenant, the id of one of its items, and the name and the value of what is written."""
    return f"tenant {client}", client + 16 * (n % 10), f"{client}.{n}", f"value {client}.{n}"


def turns(client, first, second):
    """Every other client asks in the other order, as an application's requests do."""
    return (first, second) if client % 2 == 0 else (second, first)
