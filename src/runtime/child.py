# Runs before every script that stays. The parent writes request lines to stdin; what the script says goes back over the
# pipe that was stdout, as JSON lines. Prints of libraries go to stderr.
import ctypes, json, os, signal, sys

_pipe = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the parent
    if os.getppid() == 1:
        os._exit(1)


class Unsupported(Exception):
    """A limit of the framework rather than a defect."""


def _send(message, payload=b""):
    line = json.dumps(message, separators=(",", ":"), allow_nan=False)
    _pipe.write(line.encode() + b"\n")
    _pipe.write(payload)
    _pipe.flush()


def progress(fraction, step):
    """A sign of life: `fraction` in 0..1 and what is being done."""
    _send({"progress": float(fraction), "step": str(step)})


def answer(value, payload=b""):
    """The result of a request, with raw bytes behind it where there are any."""
    _send({"answer": value, "bytes": len(payload)}, payload)


def _fail(kind, error, traceback):
    if issubclass(kind, KeyboardInterrupt):
        os._exit(130)
    sys.__excepthook__(kind, error, traceback)
    sys.stderr.flush()
    text = str(error) if issubclass(kind, Unsupported) else f"{kind.__name__}: {error}"
    low = text.lower()
    if issubclass(kind, Unsupported):
        word = "unsupported"
    elif issubclass(kind, MemoryError) or "out of memory" in low or "unable to allocate" in low:
        word = "out_of_memory"
    else:
        word = "failed"
    _send({"error": text[:2000], "kind": word})


sys.excepthook = _fail


def requests():
    """Request after request, until the parent closes the pipe."""
    for line in sys.stdin.buffer:
        yield json.loads(line)
    os._exit(0)
