#!/usr/bin/env bash
# Independent readers of what we write (DuckDB for Parquet, validators for JUnit, SARIF and the bill of materials), in a
# virtual environment of the tests' own.
set -euo pipefail
dir="$EDGE_ADVISOR_TEST_CACHE/readers-2"
[ -e "$dir/done" ] && exit 0
rm -rf "$dir"
python3 -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --only-binary :all: duckdb==2.0.0 jsonschema==4.26.0 xmlschema==4.3.2 \
  "cyclonedx-python-lib[json-validation]==11.12.0"
touch "$dir/done"
