#!/bin/sh
# Writes services/skerry/api from protos/. The output is committed; `make check-protos` fails when it is not current.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=${1:-services}
PATH="$(dirname "$(command -v "$PYTHON")"):$PATH"  # protoc finds its mypy plugin beside the interpreter
find "$OUT/skerry/api" -name '*_pb2*' -delete 2>/dev/null || true
"$PYTHON" -m grpc_tools.protoc -Iprotos --python_out="$OUT" --pyi_out="$OUT" --grpc_python_out="$OUT" --mypy_grpc_out="$OUT" \
  $(find protos -name '*.proto' | sort)
find "$OUT/skerry/api" -type d -exec touch {}/__init__.py \;
