#!/bin/sh
# All speed measurements that need a CUDA GPU, unattended, into one JSON file. Each part has a time limit, nineteen
# minutes in all; the file is written after each part, so that one cut short loses only the parts that follow.
#
#     sh benchmarks/gpu.sh [gpu.json]            from the checkout, with its environment active
#
# PYTHON    the interpreter, with ssl_rot installed        (default: .venv/bin/python, else python3)
# DEVICE, IMAGES, BATCH, SMALL_BATCH, REPEATS, JOBS         (default: cuda, 50000, 1024, 128, 5, 8)
# PEAK      the card's dense bf16 TFLOP/s, if benchmarks/_gpu.py does not know the card
#
# To try it without a GPU:
#     DEVICE=cpu IMAGES=32 BATCH=8 SMALL_BATCH=8 REPEATS=1 PEAK=1 JOBS=2 sh benchmarks/gpu.sh /tmp/gpu.json
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
    +experiment=rotation "device=$DEVICE" schedule.epochs=20 pretext.schedule.epochs=5) || echo "the run failed; see above"

# 2. The tests that are skipped without a GPU.
if [ "$DEVICE" = cuda ]; then
    echo "2. tests"
    timeout 120 "$PYTHON" -m pytest -q tests/unit/test_on_a_gpu.py || echo "a test failed; see above"
fi

measure() { # NAME SECONDS SCRIPT ARGUMENTS...: a part of the file
    name=$1 seconds=$2
    shift 2
    timeout "$seconds" "$PYTHON" "$@" --device "$DEVICE" --out "$FOLDER/$name.json" \
        || echo '"failed"' > "$FOLDER/$name.json"
    "$PYTHON" - "$FOLDER" "$OUT" <<'PY'
import json, pathlib, sys

folder, out = map(pathlib.Path, sys.argv[1:])
parts = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
out.write_text(json.dumps(parts, indent=1) + "\n")
PY
}

# 3. Throughput in eager mode, and with torch.compile. An epoch of 200,000 images takes seconds. The small batches
# are RotNet's.
echo "3. throughput"
set -- --images "$IMAGES" --repeats "$REPEATS" ${PEAK:+--peak "$PEAK"}
measure eager_nin 100 benchmarks/_gpu.py --model nin --batch "${SMALL_BATCH:-128}" "$@"
measure eager 150 benchmarks/_gpu.py --batch "$BATCH" "$@"
measure compiled_nin 200 benchmarks/_gpu.py --model nin --batch "${SMALL_BATCH:-128}" "$@" --compile
measure compiled 200 benchmarks/_gpu.py --batch "$BATCH" "$@" --compile

# 4. Several jobs of a sweep on one card. Start CUDA MPS before to measure with it.
echo "4. packing"
measure packing 240 benchmarks/_packing.py --jobs "${JOBS:-8}"
echo "written: $OUT"
