#!/bin/sh
# All speed measurements that need a CUDA GPU, unattended, in under thirteen minutes, into one JSON file.
#
#     sh benchmarks/gpu.sh [gpu.json]            from the checkout, with its environment active
#
# PYTHON    the interpreter, with ssl_rot installed        (default: .venv/bin/python, else python3)
# DEVICE, IMAGES, BATCH, REPEATS, JOBS                     (default: cuda, 50000, 1024, 5, 8)
# PEAK      the card's dense bf16 TFLOP/s, if benchmarks/_gpu.py does not know the card
#
# To try it without a GPU:
#     DEVICE=cpu IMAGES=32 BATCH=8 REPEATS=1 PEAK=1 JOBS=2 sh benchmarks/gpu.sh /tmp/gpu.json
set -eu
cd "$(dirname "$0")/.."
OUT=${1:-benchmarks/gpu.json}
PYTHON=${PYTHON:-$(test -x .venv/bin/python && echo "$PWD/.venv/bin/python" || echo python3)}
DEVICE=${DEVICE:-cuda}
IMAGES=${IMAGES:-50000}
BATCH=${BATCH:-1024}
REPEATS=${REPEATS:-5}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
export PYTHONPATH="$PWD"

# 1. Does a run work at all? Both phases on the embedded digits; a minute, most of it creating MLflow's database.
echo "1. digits on $DEVICE"
(cd "$FOLDER" && timeout 120 "$PYTHON" -m ssl_rot.run \
    +experiment=rotation "device=$DEVICE" schedule.epochs=20 pretext.schedule.epochs=5)

# 2. The tests that are skipped without a GPU.
if [ "$DEVICE" = cuda ]; then
    echo "2. tests"
    timeout 120 "$PYTHON" -m pytest -q tests/unit/test_on_a_gpu.py
fi

# 3. Throughput in eager mode, and with torch.compile. An epoch of 200,000 images takes seconds.
echo "3. throughput"
set -- --device "$DEVICE" --images "$IMAGES" --batch "$BATCH" --repeats "$REPEATS" ${PEAK:+--peak "$PEAK"}
timeout 150 "$PYTHON" benchmarks/_gpu.py "$@" --out "$FOLDER/eager.json"
timeout 150 "$PYTHON" benchmarks/_gpu.py "$@" --compile --out "$FOLDER/compiled.json" \
    || echo '"failed"' > "$FOLDER/compiled.json"

# 4. Several jobs of a sweep on one card. Start CUDA MPS before to measure with it.
echo "4. packing"
timeout 240 "$PYTHON" benchmarks/_packing.py --device "$DEVICE" --jobs "${JOBS:-8}" --out "$FOLDER/packing.json" \
    || echo '"failed"' > "$FOLDER/packing.json"

# 5. One file.
"$PYTHON" - "$FOLDER" "$OUT" <<'PY'
import json, pathlib, sys

folder, out = map(pathlib.Path, sys.argv[1:])
record = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("eager", "compiled", "packing")}
out.write_text(json.dumps(record, indent=1) + "\n")
print("written:", out)
PY
