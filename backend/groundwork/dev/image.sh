#!/usr/bin/env bash
# What CI does with the built image, and a person can do too. IMAGE@DIGEST is in a registry.
#   image.sh try IMAGE [PLATFORM]            start it as production does, on an empty PostgreSQL, and end it
#   image.sh save IMAGE@DIGEST FILE          write it to an OCI archive: all platforms and attestations, same digest
#   image.sh publish FILE DIGEST NAME:TAG    push it by its digest, sign it, and only then give it its name
#   image.sh newest NAME VERSION             the newest published tag of a version: VERSION-DATE, or VERSION
set -euo pipefail

fail() { echo "$*" >&2; exit 1; }

name=try-image-$$
remove() {
  docker rm --force --volumes "$name" "$name-db" >/dev/null 2>&1 || true
  docker network rm "$name" >/dev/null 2>&1 || true
}

try_image() {
  local image=$1 platform=${2:-linux/amd64} postgres hardened
  # The version in docker-compose.yml.
  postgres=$(sed -nE 's/^ *image: (postgres:[^ ]+).*/\1/p' "$(dirname "$0")/../../../docker-compose.yml" | head -1)
  trap remove EXIT
  # The engine may have the same image for another platform.
  [[ $image != *@* ]] || docker pull --quiet --platform "$platform" "$image" >/dev/null
  docker network create "$name" >/dev/null
  docker run --detach --name "$name-db" --network "$name" --env POSTGRES_HOST_AUTH_METHOD=trust "$postgres" >/dev/null
  # By TCP, because PostgreSQL listens only on its socket while it sets itself up.
  wait_for "PostgreSQL does not answer" docker exec "$name-db" pg_isready --quiet --host 127.0.0.1
  hardened=(--platform "$platform" --network "$name" --read-only --cap-drop ALL --security-opt no-new-privileges
    --env "DATABASE_URL=postgresql://postgres@$name-db/postgres" --env WEB_CONCURRENCY=1)
  [[ $(docker run --rm "${hardened[@]}" "$image" id -u) == 10001 ]] || fail "$image does not run as user 10001: set USER 10001:10001 in backend/Dockerfile."
  docker run --rm "${hardened[@]}" "$image" python -m alembic upgrade head ||
    fail "$image ($platform): the migrations fail. Mend what their last lines say above."
  docker run --detach --name "$name" "${hardened[@]}" "$image" >/dev/null
  wait_for "$image ($platform) does not become ready" docker exec "$name" python healthcheck.py ready
  docker exec "$name" python -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/openapi.json")'
  docker stop --time 60 "$name" >/dev/null
  [[ $(docker inspect --format '{{.State.ExitCode}}' "$name") == 0 ]] ||
    fail "$image ($platform) does not end well on SIGTERM. Mend what its log says: $(docker logs --tail 20 "$name" 2>&1)"
  echo "$image on $platform: migrated, ready, answered, and ended."
}

# wait_for WHAT COMMAND…: two minutes, because an emulated processor is slow.
wait_for() {
  local what=$1 attempt
  shift
  for attempt in {1..120}; do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 1
  done
  docker logs --tail 20 "$3" >&2
  fail "$what after $attempt seconds. Mend what its log says above."
}

save() {
  local source=()
  # CI's own registry on the same machine has no TLS.
  [[ $1 != localhost:* ]] || source=(--src-tls-verify=false)
  skopeo copy --all --preserve-digests "${source[@]}" "docker://$1" "oci-archive:$2"
}

publish() {
  local file=$1 digest=$2 target=$3 repository=${3%:*} there
  [[ $(digest_of "oci-archive:$file") == "$digest" ]] || fail "$file is not $digest, which was tested. Run the build again."
  there=$(digest_of "docker://$target" 2>/dev/null) || there=
  [[ ! $there || $there == "$digest" ]] ||
    fail "$target is published already, as $there. A version is never published twice: raise it, and tag that."
  skopeo copy --all --preserve-digests "oci-archive:$file" "docker://$repository@$digest"
  cosign sign --yes "$repository@$digest"
  skopeo copy --all --preserve-digests "docker://$repository@$digest" "docker://$target"
  [[ $(digest_of "docker://$target") == "$digest" ]] || fail "The registry gives $target another digest than $digest: remove it there, and publish again."
  echo "Published $target, which is $digest."
}

digest_of() {
  local raw
  raw=$(mktemp)
  skopeo inspect --raw "$1" >"$raw" || { rm "$raw"; return 1; }
  echo "sha256:$(sha256sum <"$raw" | cut -d' ' -f1)"
  rm "$raw"
}

newest() {
  local tags
  tags=$(skopeo list-tags "docker://$1") || fail "$1 cannot be read: correct the name, or sign in by docker login."
  python3 -c '
import json, re, sys
builds = [tag for tag in json.load(sys.stdin)["Tags"] if re.fullmatch(re.escape(sys.argv[1]) + r"(-\d{8})?", tag)]
print(max(builds)) if builds else sys.exit(1)' "$2" <<<"$tags" || fail "$1 has no $2: name a version that is published."
}

usage() { sed -n '2,7s/^# *//p' "$0" >&2; exit 2; }

case ${1:-}:$# in
  try:[23]) try_image "${@:2}" ;;
  save:3 | publish:4 | newest:3) "${@}" ;;
  *) usage ;;
esac
