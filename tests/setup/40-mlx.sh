#!/usr/bin/env bash
# MLX's pinned Python environment, installed by the product itself.
set -euo pipefail
"$EDGE_ADVISOR" runtime install mlx --quiet
