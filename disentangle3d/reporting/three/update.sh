#!/bin/sh
# Takes three.js from its npm package: update.sh [VERSION], else VERSION's own.
# 0.147.0 is the last with TrackballControls as a plain script, which a page
# opened from a file can hold.
set -eu
cd "$(dirname "$0")"
version=${1:-$(cat VERSION)}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && npm pack --silent "three@$version" >/dev/null && tar -xzf ./*.tgz)
for file in build/three.min.js examples/js/controls/TrackballControls.js LICENSE
do
  cp "$scratch/package/$file" .
done
echo "$version" >VERSION
