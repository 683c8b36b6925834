#!/usr/bin/env bash
# OpenVINO's pinned library and the tools that make its variants, installed by the product itself.
set -euo pipefail
"$EDGE_ADVISOR" runtime install openvino --quiet
"$EDGE_ADVISOR" runtime install openvino-tools --quiet
