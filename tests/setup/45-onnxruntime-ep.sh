#!/usr/bin/env bash
# A freely licensed plugin execution provider, which stands in for those that are not.
set -euo pipefail
"$EDGE_ADVISOR" runtime install onnxruntime-ep-webgpu --quiet
