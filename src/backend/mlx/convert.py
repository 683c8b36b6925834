# Makes an MLX model directory from a GGUF file of floats, or from a Hugging Face directory, with mlx-lm's own model
# classes, quantizer and writer.
import re
import mlx.core as mx, mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import _get_classes, load_model, quantize_model, save_config, save_model
from pathlib import Path

r = next(requests())
NAMES = [
    ("token_embd.", "model.embed_tokens."),
    ("output_norm.", "model.norm."),
    ("output.", "lm_head."),
    ("attn_q_norm.", "self_attn.q_norm."),
    ("attn_k_norm.", "self_attn.k_norm."),
    ("attn_output.", "self_attn.o_proj."),
    ("attn_norm.", "input_layernorm."),
    ("attn_q.", "self_attn.q_proj."),
    ("attn_k.", "self_attn.k_proj."),
    ("attn_v.", "self_attn.v_proj."),
    ("ffn_norm.", "post_attention_layernorm."),
    ("ffn_gate.", "mlp.gate_proj."),
    ("ffn_up.", "mlp.up_proj."),
    ("ffn_down.", "mlp.down_proj."),
]


def name_of(name):
    block = re.match(r"blk\.(\d+)\.(.*)", name)
    rest = block[2] if block else name
    for gguf, hf in NAMES:
        if rest.startswith(gguf):
            tail = hf + rest[len(gguf) :]
            return f"model.layers.{block[1]}.{tail}" if block else tail
    raise Unsupported(f"tensor `{name}` has no place in this architecture's MLX model")


def unpaired(w, heads):
    """Back from GGUF's neighbouring rotary pairs to two halves."""
    return w.reshape(heads, -1, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def scaled_rope(factors, config):
    """Llama 3 keeps its stretched frequencies as factors: the settings they come from, checked against them."""
    import numpy as np

    dim, base = 2 * factors.size, config["rope_theta"]
    factor, old = float(factors.max()), 8192
    wave = 2 * np.pi * base ** (np.arange(0, dim, 2) / dim)
    smooth = np.clip((old / wave - 1.0) / (4.0 - 1.0), 0, 1)
    wanted = 1 / ((1 - smooth) / factor + smooth)
    if np.abs(wanted / factors - 1).max() > 1e-2:
        raise Unsupported("its rotary frequency factors are not those of Llama 3")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": old,
    }


def from_gguf():
    config = dict(r["config"])
    weights = mx.load(r["gguf"])
    factors = weights.pop("rope_freqs.weight", None)
    if factors is not None:
        import numpy as np

        config["rope_scaling"] = scaled_rope(np.array(factors, dtype=np.float64), config)
    named = {}
    for name, w in weights.items():
        hf = name_of(name)
        if r["paired"] and re.search(r"\.(q|k)_proj\.", hf):
            q = ".q_proj." in hf
            w = unpaired(w, config["num_attention_heads" if q else "num_key_value_heads"])
        named[hf] = w
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(config))
    if hasattr(model, "sanitize"):
        named = model.sanitize(named)
    model.eval()
    model.load_weights(list(named.items()))
    return model, config


progress(0.1, "reading")
model, config = from_gguf() if r["gguf"] else load_model(Path(r["directory"]), lazy=True)
if "quantization" in config or "quantization_config" in config:
    raise Unsupported("the source directory is quantized already")
dtype = getattr(mx, r["dtype"])
cast = lambda _, w: w.astype(dtype) if mx.issubdtype(w.dtype, mx.floating) else w
model.update(tree_map_with_path(cast, model.parameters()))
config["torch_dtype"] = r["dtype"]

quantize = r["quantize"]
if quantize:
    group, mode = quantize["group"], quantize["mode"]
    matrices = [m for _, m in tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module) if hasattr(m, "to_quantized")]
    wide = sorted({m.weight.shape[-1] for m in matrices if m.weight.shape[-1] % group})
    if wide:
        odd = sum(m.weight.shape[-1] % group != 0 for m in matrices)
        rows = ", ".join(map(str, wide))
        raise Unsupported(
            f"groups of {group} do not divide rows of {rows}: MLX would leave {odd} of {len(matrices)} matrices unquantized"
        )
    progress(0.4, "quantizing")
    predicate = quantize["recipe"] and mixed_quant_predicate_builder(quantize["recipe"], model, group)
    model, config = quantize_model(model, config, group, quantize["bits"], mode=mode, quant_predicate=predicate)
# The work is lazy: done piece by piece, so that it can be told.
parameters = tree_flatten(model.parameters())
for i, (name, value) in enumerate(parameters):
    mx.eval(value)
    if i % 32 == 0:
        progress(0.4 + 0.5 * i / len(parameters), name)
progress(0.9, "writing")
out = Path(r["out"])
save_model(out, model)
save_config(config, config_path=out / "config.json")
answer({"model_type": config["model_type"]})
