#!/usr/bin/env bash
# Independent readers of what we write (DuckDB for Parquet, schema validators for JUnit and SARIF), in a
# virtual environment of the tests' own.
set -euo pipefail
dir="$EDGE_ADVISOR_TEST_CACHE/readers-1"
[ -e "$dir/done" ] && exit 0
rm -rf "$dir"
python3 -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --only-binary :all: duckdb==2.0.0 jsonschema==4.26.0 xmlschema==4.3.2
touch "$dir/done"
