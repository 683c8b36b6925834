#!/usr/bin/env bash
# Measures memory and arithmetic while nothing else runs: the tests that follow run side by side.
set -euo pipefail
"$EDGE_ADVISOR" probe --measure > /dev/null
