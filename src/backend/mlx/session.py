# One loaded model that answers requests: the loop of mlx-lm's own `generate_step` without sampling.
import mlx.core as mx, mlx_lm
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model
from mlx.utils import tree_flatten
from pathlib import Path

STEP = 2048  # mlx-lm's prefill_step_size


def memory():
    kv = sum(getattr(c, "nbytes", 0) for c in cache)
    return {"kv": kv, "peak": mx.get_peak_memory()}


def open_model(r):
    device = mx.Device(mx.gpu if r["device"] == "gpu" else mx.cpu, 0)
    mx.set_default_device(device)
    wired = 0
    if r["device"] == "gpu" and mx.metal.is_available():
        wired = int(mx.device_info()["max_recommended_working_set_size"])
        mx.set_wired_limit(wired)
    model, config = load_model(Path(r["path"]))
    if r["float32"]:
        # 16-bit arithmetic is emulated on x86.
        model.set_dtype(mx.float32)
        mx.eval(model.parameters())
    parameters = [p for _, p in tree_flatten(model.parameters())]
    mx.clear_cache()
    mx.reset_peak_memory()
    floats = sorted({str(p.dtype).split(".")[-1] for p in parameters if mx.issubdtype(p.dtype, mx.floating)})
    facts = {
        "vocabulary": int(config["vocab_size"]),
        "layers": len(model.layers),
        "weights": sum(p.nbytes for p in parameters),
        "floats": floats,
        "wired": wired,
        "versions": {"mlx": mx.__version__, "mlx-lm": mlx_lm.__version__},
    }
    return model, facts


def extend(tokens):
    """Only the last position goes through the head."""
    for i in range(0, len(tokens) - 1, STEP):
        model(mx.array([tokens[i : min(i + STEP, len(tokens) - 1)]]), cache=cache)
        mx.eval([c.state for c in cache])
    return mx.argmax(model(mx.array([tokens[-1:]]), cache=cache)[0, -1]).item()


model, cache = None, []
for r in requests():
    op = r["op"]
    if op == "decode":
        answer(mx.argmax(model(mx.array([[r["token"]]]), cache=cache)[0, -1]).item())
    elif op == "prefill":
        token = extend(r["tokens"])
        answer({"token": token, **memory()})
    elif op == "reset":
        cache = make_prompt_cache(model)
        answer(memory())
    elif op == "logits":
        logits = model(mx.array([r["tokens"]]), cache=cache)[0].astype(mx.float32)
        mx.eval(logits)
        answer(logits.shape[-1], bytes(memoryview(logits)))
    elif op == "open":
        model, facts = open_model(r)
        cache = make_prompt_cache(model)
        answer(facts)
