"""ONNX Runtime's Python API on a graph, for benches/onnxruntime.rs: JSON request on stdin, JSON lines out.

Request: onnx, inputs (names), shape (of each), threads. Then each line on stdin is three seconds of inferences, answered
by {"median_ms"}.
"""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort

request = json.loads(sys.stdin.readline())
options = ort.SessionOptions()
options.intra_op_num_threads = request["threads"]
options.inter_op_num_threads = 1
session = ort.InferenceSession(request["onnx"], options, providers=["CPUExecutionProvider"])
types = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
feed = {}
for port in session.get_inputs():
    dtype = types.get(port.type, np.float32)
    feed[port.name] = np.full(request["shape"], 0.5 if dtype is np.float32 else 1, dtype)
print(json.dumps({"ready": True}), flush=True)
for _ in sys.stdin:
    times = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < 3:
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"median_ms": statistics.median(times)}), flush=True)
