#!/usr/bin/env bash
# ONNX Runtime's pinned library, installed by the product itself.
set -euo pipefail
"$EDGE_ADVISOR" runtime install onnxruntime --quiet
