"""OpenVINO GenAI on one of our variants, for benches/openvino.rs: JSON request on stdin, JSON lines out.

Request: gguf (an F16 file), xml (our variant of it), work (an empty directory), threads, prompt (token ids), decode.
Then each line on stdin is one round, answered by {"tokens", "prefill", "decode"}: ids, tokens a second.
"""

import json
import os
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai

request = json.loads(sys.stdin.readline())
work = request["work"]
link = os.path.join(work, "model.gguf")
os.symlink(request["gguf"], link)
# Writes the tokenizer that a pipeline wants beside its model.
genai.LLMPipeline(link, "CPU", enable_save_ov_model=True)
os.remove(link)
core = ov.Core()
model = core.read_model(request["xml"])
# GenAI does not know the input that says where logits are wanted.
positions = model.input("logit_positions").node
gather = next(iter(positions.output(0).get_target_inputs())).get_node()
gather.output(0).replace(gather.input_value(0))
model.remove_parameter(positions)
os.remove(os.path.join(work, "openvino_model.xml"))
os.remove(os.path.join(work, "openvino_model.bin"))
ov.save_model(model, os.path.join(work, "openvino_model.xml"), compress_to_fp16=False)
pipeline = genai.LLMPipeline(
    work, "CPU", ATTENTION_BACKEND="SDPA", PERFORMANCE_HINT="LATENCY", NUM_STREAMS="1",
    INFERENCE_NUM_THREADS=request["threads"], KV_CACHE_PRECISION="f16", INFERENCE_PRECISION_HINT="f32",
)  # fmt: skip
ids = ov.Tensor(np.array([request["prompt"]], np.int64))
config = genai.GenerationConfig(
    max_new_tokens=request["decode"] + 1, ignore_eos=True, do_sample=False, apply_chat_template=False
)
print(json.dumps({"ready": True}), flush=True)
for _ in sys.stdin:
    made = pipeline.generate(ids, config)
    metrics = made.perf_metrics
    answer = {
        "tokens": list(made.tokens[0]),
        "prefill": len(request["prompt"]) / metrics.get_ttft().mean * 1e3,
        "decode": 1e3 / metrics.get_tpot().mean,
    }
    print(json.dumps(answer), flush=True)
