"""onnxruntime-genai on one of our graphs, for benches/onnxruntime.rs: JSON request on stdin, JSON lines out.

Request: dir (graph and genai_config.json), prompt (token ids), decode. Then each line on stdin is one round, answered
by {"tokens", "prefill", "decode"}: ids, tokens a second.
"""

import json
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime_genai as og

request = json.loads(sys.stdin.readline())
path = os.path.join(request["dir"], "model.onnx")
graph = onnx.load(path, load_external_data=False)
os.remove(path)
# genai makes room for the logits of all positions unless the graph says that there is one.
logits = next(o for o in graph.graph.output if o.name == "logits")
positions = logits.type.tensor_type.shape.dim[1]
positions.Clear()
positions.dim_value = 1
onnx.save(graph, path)
model = og.Model(request["dir"])
prompt = np.array(request["prompt"], np.int32)
print(json.dumps({"ready": True}), flush=True)
for _ in sys.stdin:
    generator = og.Generator(model, og.GeneratorParams(model))
    start = time.perf_counter()
    generator.append_tokens(prompt)
    generator.generate_next_token()
    prefill = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(request["decode"]):
        generator.generate_next_token()
    decode = time.perf_counter() - start
    answer = {
        "tokens": [int(t) for t in generator.get_sequence(0)[len(prompt) :]],
        "prefill": len(prompt) / prefill,
        "decode": request["decode"] / decode,
    }
    print(json.dumps(answer), flush=True)
    del generator
