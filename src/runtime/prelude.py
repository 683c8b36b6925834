# Runs before each of our scripts: the request comes in on stdin as JSON, events go out as JSON lines, and whatever
# libraries print goes to stderr.
import json
import os
import sys

_events = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
# These send usage data where they can be imported; here they cannot.
sys.modules["openvino_telemetry"] = None


class Unsupported(Exception):
    """A limit of the tool, not a defect."""


def _say(**event):
    _events.write(json.dumps(event) + "\n")
    _events.flush()


def progress(fraction, step):
    _say(event="progress", fraction=fraction, step=step)


def serve(handle):
    """Answers the one request with what `handle` makes of it."""
    try:
        result = handle(json.load(sys.stdin))
    except Unsupported as e:
        _say(event="unsupported", why=str(e))
    except MemoryError as e:
        _say(event="out_of_memory", why=str(e) or "an allocation failed")
    except Exception as e:
        import traceback

        traceback.print_exc()
        _say(event="failed", why=f"{type(e).__name__}: {e}"[:4000])
    else:
        _say(event="result", result=result)
