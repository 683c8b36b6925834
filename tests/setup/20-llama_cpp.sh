#!/usr/bin/env bash
# llama.cpp's pinned library, installed by the product itself.
set -euo pipefail
"$EDGE_ADVISOR" runtime install llama.cpp --quiet
