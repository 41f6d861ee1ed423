#!/bin/bash
# A real one-node Kubernetes in namespaces of its own, built from Debian's source package. See README.md.
set -uo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"

usage() {
  cat <<'USAGE'
usage: cluster.sh build  DIR             install the Debian packages, build Kubernetes into DIR/bin (once; minutes)
       cluster.sh up     DIR             start the cluster, write DIR/kubeconfig
       cluster.sh load   DIR IMAGE...    image archives (files), or names in podman's and buildah's storage
       cluster.sh exec   DIR CMD...      run CMD in the cluster's network: Services by address and name; KUBECONFIG and PATH set
       cluster.sh status DIR             what runs; exit status 0: the node is Ready, 3: it is not
       cluster.sh logs   DIR [PROGRAM]   the end of the programs' logs
       cluster.sh down   DIR             stop it all and remove its state (the binaries stay)
USAGE
}
exec 3>&2 # a trap can strike while a command's output is thrown away
say() { printf '%s\n' "==> $*" >&3; }
undo=""
die() {
  printf '%s\n' "cluster.sh: error: $*" >&3
  [ -z "$undo" ] || { local u=$undo; undo=""; $u; }
  exit 1
}
need_root() { [ "$(id -u)" = 0 ] || die "needs root (namespaces, mounts, cgroups)"; }

# ---------------------------------------------------------------------------------------------------------- build
packages_build="debian-archive-keyring golang-go make rsync jq gcc libc6-dev dpkg-dev golang-github-modern-go-reflect2-dev"
packages_run="etcd-server containerd runc containernetworking-plugins iptables iproute2 conntrack dnsmasq-base socat
  openssl ca-certificates curl jq python3 python3-yaml util-linux procps"

built() { # the binaries are there and whole
  [ -s "$dir/bin/SHA256SUMS" ] && (cd "$dir/bin" && sha256sum --quiet -c SHA256SUMS) >/dev/null 2>&1
}

install_packages() { # only those that are missing; apt-get is not even called when none is
  local missing=() p
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null)" = "install ok installed" ] || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  [ -n "$(find /var/lib/apt/lists -name '*Packages*' -mmin -1440 2>/dev/null | head -1)" ] ||
    timeout 300 apt-get update -qq || die "apt-get update failed"
  DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >"$dir/apt.log" 2>&1 </dev/null || { tail -20 "$dir/apt.log" >&2; die "apt-get install failed; all of it in $dir/apt.log"; }
}

run_logged() { # run_logged LIMIT LOG CMD...: quiet, with a line every 30 s
  local limit=$1 log=$2 pid rc=0 start=$SECONDS said=0
  shift 2
  timeout "$limit" "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    if [ $((SECONDS - start - said)) -ge 30 ]; then
      said=$((SECONDS - start))
      say "  ... $said s: $(tail -n 1 "$log" | cut -c 1-110)"
    fi
  done
  wait "$pid" || rc=$?
  [ $rc = 0 ] && return
  tail -30 "$log" >&2
  [ $rc = 124 ] && die "stopped after $limit s; all of it in $log"
  die "failed ($rc); all of it in $log"
}

cmd_build() {
  need_root
  mkdir -p "$dir" || die "cannot make $dir"
  exec 9>"$dir/.build.lock"
  flock -w 3600 9 || die "another build in $dir did not end"
  # shellcheck disable=SC2086
  if built; then install_packages $packages_run; say "binaries in $dir/bin are there and whole"; return; fi
  local t0=$SECONDS src=$dir/src free
  free=$(df -Pm "$dir" | awk 'NR==2 {print $4}')
  [ "$free" -ge 6000 ] || die "needs 6 GB of free disk in $dir while building, has $free MB"
  # shellcheck disable=SC2086
  install_packages $packages_build $packages_run
  mkdir -p "$src/deb" "$dir/bin"
  cd "$src" || die "no $src"

  # deb-src of the same Debian archives that this machine takes its packages from
  local lists=$src/apt
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
  apt-get indextargets --format 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' | grep ' main$' | sort -u >"$lists/sources.list"
  [ -s "$lists/sources.list" ] || die "this machine's apt knows no Debian archive (run apt-get update)"
  local opts=(-o "Dir::Etc::sourcelist=$lists/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$lists/lists"
    -o "Dir::Cache=$lists/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
  if ! ls "$src"/deb/*.dsc >/dev/null 2>&1; then
    say "getting Debian's source package kubernetes"
    run_logged 300 "$src/apt-update.log" apt-get "${opts[@]}" update
    (cd "$src/deb" && run_logged 600 "$src/apt-source.log" apt-get "${opts[@]}" source --download-only kubernetes) || exit 1
  fi
  if [ ! -e "$src/tree/.ready" ]; then
    say "unpacking $(basename "$src"/deb/*.dsc .dsc)"
    rm -rf "$src/tree"
    run_logged 300 "$src/unpack.log" dpkg-source -x "$src"/deb/*.dsc "$src/tree"
    [ -d "$src/tree/cmd/kube-apiserver" ] || die "this Debian release's source package kubernetes has no API server (bookworm's has)"
    # the vendored reflect2 is too old for this Go: "fatal error: fault ... runtime.mapiternext" at the first CRD
    local r=$src/tree/vendor/github.com/modern-go/reflect2
    rm -f "$r"/*.go "$r"/*.s
    cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$r/" || die "no reflect2 from golang-github-modern-go-reflect2-dev"
    touch "$src/tree/.ready"
  fi

  cd "$src/tree" || die "no source tree"
  local gopath=$src/tree/.go what="" p
  mkdir -p "$gopath/src/k8s.io" "$src/home"
  [ -L "$gopath/src/k8s.io/kubernetes" ] || ln -s ../../.. "$gopath/src/k8s.io/kubernetes"
  for p in $programs; do what="$what cmd/$p"; done
  say "compiling$what"
  run_logged 5400 "$dir/build.log" env -i PATH=/usr/lib/go/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$src/home" LANG=C.UTF-8 \
    GOPATH="$gopath" GOCACHE="$src/gocache" GOFLAGS= GOPROXY=off CGO_ENABLED=0 GOGC=300 nice -n 5 make WHAT="${what# }"
  for p in $programs; do
    install -m 755 "_output/local/bin/linux/$(go env GOARCH 2>/dev/null || dpkg --print-architecture)/$p" "$dir/bin/$p.new" &&
      mv "$dir/bin/$p.new" "$dir/bin/$p" || die "no $p after the build; see $dir/build.log"
  done
  gcc -Os -Wall -static -o "$dir/bin/pause" build/pause/linux/pause.c 2>"$dir/pause.log" || { cat "$dir/pause.log" >&2; die "pause does not compile"; }
  rm -f "$dir/pause.log"
  cd "$src" || exit 1
  # kubectl of the same version; taken out of the package, so that a kubectl of the machine stays what it is
  run_logged 300 "$src/kubectl.log" apt-get -o APT::Sandbox::User=root download kubernetes-client
  dpkg-deb -x kubernetes-client_*.deb "$src/kubectl" && install -m 755 "$src/kubectl/usr/bin/kubectl" "$dir/bin/kubectl" || die "no kubectl in kubernetes-client"
  for p in $programs kubectl; do "$dir/bin/$p" --version >/dev/null 2>&1 || "$dir/bin/$p" version --client >/dev/null 2>&1 || die "$p does not run"; done
  # shellcheck disable=SC2086
  (cd "$dir/bin" && sha256sum $programs kubectl pause >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS) || die "cannot write $dir/bin"
  cd / && rm -rf "$src"
  say "$("$dir/bin/kubelet" --version) built in $((SECONDS - t0)) s, $(du -sm "$dir/bin" | cut -f1) MB in $dir/bin"
}

# ------------------------------------------------------------------------------------------------- the running cluster
name() { echo "kube-$(printf %s "$dir" | sha256sum | cut -c 1-8)"; }      # of the node, and of its cgroups

alive() { # alive FILE: the process named in FILE ("pid starttime") still is that process
  local pid start
  read -r pid start 2>/dev/null <"$1" || return 1
  [ "$(awk '$3 != "Z" {print $22}' "/proc/$pid/stat" 2>/dev/null)" = "$start" ]
}
remember() { echo "$1 $(awk '{print $22}' "/proc/$1/stat" 2>/dev/null)" >"$2"; }
init_pid() { # process 1 of the namespaces: the child of the unshare that run/init names
  local outer
  outer=$(cut -d ' ' -f 1 "$dir/run/init")
  cut -d ' ' -f 1 "/proc/$outer/task/$outer/children"
}
kubectl() { PATH="$dir/bin:$PATH" command kubectl --kubeconfig "$dir/kubeconfig" "$@"; }

make_pki() {
  mkdir -p "$dir/pki" && chmod 700 "$dir/pki"
  (
    cd "$dir/pki" && [ ! -e complete ] || exit 0
    set -e
    curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    # shellcheck disable=SC2086
    openssl req -x509 $curve -keyout ca.key -out ca.crt -days 3650 -subj "/CN=$(name)" 2>/dev/null
    leaf() { # leaf NAME SUBJECT [SAN]
      # shellcheck disable=SC2086
      openssl req $curve -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
      printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}" >"$1.ext"
      openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    }
    leaf apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:10.240.0.1"
    leaf admin /O=system:masters/CN=admin
    leaf kubelet "/O=system:nodes/CN=system:node:$(name)" "DNS:$(name),IP:10.240.0.1"
    leaf kube-proxy /CN=system:kube-proxy
    leaf webhook /CN=webhook IP:10.240.0.1
    openssl ecparam -name prime256v1 -genkey -noout -out sa.key 2>/dev/null
    openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
    rm -f ./*.csr ./*.ext
    touch complete
  ) || die "openssl could not make the certificates in $dir/pki"
}

write_kubeconfig() { # write_kubeconfig FILE USER PORT; self-contained, so that it can be copied
  b64() { base64 -w 0 "$dir/pki/$1"; }
  cat >"$1.new" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: $(name), cluster: {server: "https://127.0.0.1:$3", certificate-authority-data: $(b64 ca.crt)}}]
users: [{name: $2, user: {client-certificate-data: $(b64 "$2.crt"), client-key-data: $(b64 "$2.key")}}]
contexts: [{name: $(name), context: {cluster: $(name), user: $2, namespace: default}}]
current-context: $(name)
YAML
  chmod 600 "$1.new" && mv "$1.new" "$1"
}

write_configs() {
  local snapshotter=overlayfs
  [ "$(stat -f -c %T "$dir")" = overlayfs ] && snapshotter=native
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE no score may be lowered
  cat >"$dir/run/containerd.toml" <<TOML
version = 2
root = "$dir/state/containerd"
state = "/run/containerd/run"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$dir/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/run/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
TOML
  # point to point links, no bridge: every packet between pods is routed, so that Services work between any two of them
  mkdir -p "$dir/run/cni"
  cat >"$dir/run/cni/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$dir/state/cni/ipam",
    "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  : >"$dir/run/resolv.conf"        # the pods' own resolver adds nothing of the machine's
  printf 'nameserver 10.240.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n' >"$dir/run/resolv-exec.conf"
  cat >"$dir/run/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 10.240.0.1
healthzPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $dir/pki/kubelet.crt
tlsPrivateKeyFile: $dir/pki/kubelet.key
clusterDNS: [10.240.0.1]
clusterDomain: cluster.local
resolvConf: $dir/run/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: /$(name)
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 2s
syncFrequency: 10s
serializeImagePulls: false
eventRecordQPS: 0
volumePluginDir: $dir/state/plugins
YAML
  cat >"$dir/run/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 10.240.0.1
hostnameOverride: $(name)
clusterCIDR: 10.244.0.0/24
mode: iptables
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: $dir/run/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
}

pause_image() { # the sandbox's image: one static program. A docker archive is a tar of a tar and two JSON files
  local t=$dir/run/pause
  mkdir -p "$t"
  tar -C "$dir/bin" --owner 0 --group 0 -cf "$t/layer.tar" pause
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"],"User":"65535:65535"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$(sha256sum "$t/layer.tar" | cut -d ' ' -f 1)" >"$t/config.json"
  echo '[{"Config":"config.json","RepoTags":["localhost/pause:local"],"Layers":["layer.tar"]}]' >"$t/manifest.json"
  tar -C "$t" -cf "$dir/run/pause.tar" manifest.json config.json layer.tar
}

ctr() { timeout 300 ctr --address "$dir/run/containerd.sock" --namespace k8s.io "$@"; }

wait_for() { # wait_for SECONDS WHAT CMD...
  local limit=$1 end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$dir/run/init" || { cmd_logs >&2; die "the cluster ended while waiting until $what; its logs are in $dir/log.last"; }
    alive "$dir/run/relay" || { cat "$dir/log/relay.log" >&2; die "the relay on 127.0.0.1 ended; is its port taken?"; }
    if [ -s "$dir/run/ended" ]; then cat "$dir/run/ended" >&2; cmd_logs "$(head -1 "$dir/run/ended" | cut -d ' ' -f 1)" >&2; die "a program of the cluster ended; logs are in $dir/log.last"; fi
    [ $SECONDS -lt $end ] || { cmd_logs >&2; die "not within $limit s: $what; logs are in $dir/log.last"; }
    sleep 0.2
  done
}

cmd_up() {
  need_root
  built || die "no whole binaries in $dir/bin: run cluster.sh build $dir"
  local p lacking="" t0=$SECONDS
  for p in etcd containerd runc iptables dnsmasq socat openssl jq conntrack unshare; do command -v $p >/dev/null || lacking="$lacking $p"; done
  [ -z "$lacking" ] && [ -x /usr/lib/cni/ptp ] || die "not installed:$lacking (cluster.sh build installs what is missing)"
  [ ${#dir} -le 60 ] || die "$dir is too long a path for the sockets in it (at most 60 characters)"
  if [ -e "$dir/run/init" ] && alive "$dir/run/init" && [ -e "$dir/run/ready" ]; then say "already up; KUBECONFIG=$dir/kubeconfig"; return; fi
  cmd_down quiet
  undo="cmd_down quiet"
  trap 'die interrupted' INT TERM HUP
  mkdir -p "$dir"/{run,log,state} && chmod 711 "$dir/run" && touch "$dir/state/hosts"
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  make_pki
  write_kubeconfig "$dir/kubeconfig" admin "$port"
  write_kubeconfig "$dir/run/kubelet.kubeconfig" kubelet "$port"
  write_kubeconfig "$dir/run/kube-proxy.kubeconfig" kube-proxy "$port"
  write_configs
  pause_image
  for p in /var/lib/kubelet /var/lib/cni /run/containerd; do [ -d $p ] || { mkdir -p $p && echo $p >>"$dir/run/made"; }; done

  setsid unshare --net --mount --pid --fork --kill-child --mount-proc bash "$here/node.sh" "$dir" "$port" "$(name)" >"$dir/log/node.log" 2>&1 </dev/null 3>&- &
  remember $! "$dir/run/init"
  # the API server, from the ordinary namespace too, at the same 127.0.0.1:port: a Unix socket joins the two
  setsid socat "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork,nodelay" "UNIX-CONNECT:$dir/run/api.sock" >"$dir/log/relay.log" 2>&1 </dev/null 3>&- &
  remember $! "$dir/run/relay"

  wait_for 90 "the API server is ready" kubectl get --raw /readyz
  say "API server ready after $((SECONDS - t0)) s: $(kubectl version --short 2>/dev/null | tail -1)"
  wait_for 60 "Istio's CRDs are accepted" kubectl apply -f "$here/crds.yaml"
  wait_for 60 "containerd answers" ctr version
  ctr images import "$dir/run/pause.tar" >/dev/null || die "the pause image could not be imported"
  wait_for 90 "node $(name) is Ready" kubectl wait --for=condition=Ready "node/$(name)" --timeout=5s
  wait_for 60 "the default service account is there" kubectl get serviceaccount default -n default
  wait_for 30 "the CRDs are established" kubectl wait --for=condition=Established crd --all --timeout=5s
  wait_for 30 "the mesh's control plane has registered its webhook" kubectl get mutatingwebhookconfiguration istio-sidecar-injector
  touch "$dir/run/ready"
  undo=""
  say "node $(name) Ready after $((SECONDS - t0)) s; KUBECONFIG=$dir/kubeconfig"
}

cmd_load() { # IMAGE: an archive, or a name in the container storage; IMAGE=NAME also gives it another name in the cluster
  [ $# -gt 0 ] || { usage >&2; exit 2; }
  alive "$dir/run/init" || die "not up: $dir"
  local i as f t0=$SECONDS out
  for i in "$@"; do
    as=""
    case "$i" in *=*) as=${i#*=} i=${i%%=*} ;; esac
    f=$i
    if [ ! -f "$i" ]; then
      f=$dir/run/load.$$.tar
      rm -f "$f"
      if command -v buildah >/dev/null && buildah inspect --type image "$i" >/dev/null 2>&1; then
        timeout 300 buildah push -q "$i" "docker-archive:$f:$i" || die "buildah could not export $i"
      elif command -v podman >/dev/null && podman image exists "$i" 2>/dev/null; then
        timeout 300 podman save -q -o "$f" "$i" || die "podman could not export $i"
      else
        die "$i is neither a file nor an image in the storage of buildah or podman"
      fi
    fi
    out=$(ctr images import "$f" 2>&1) || { rm -f "$dir/run/load.$$.tar"; die "containerd refused $i: $out"; }
    rm -f "$dir/run/load.$$.tar"
    local got
    got=$(printf '%s\n' "$out" | sed -n 's/^unpacking \([^ ]*\) .*/\1/p' | head -1)
    [ -n "$got" ] || got=$i
    if [ -n "$as" ]; then ctr images tag --force "$got" "$as" >/dev/null || die "cannot name $got $as"; fi
    wait_for 20 "the kubelet's runtime knows ${as:-$got}" cri_knows "${as:-$got}"
    say "loaded $got${as:+ as $as}"
  done
  say "loaded $# in $((SECONDS - t0)) s"
}
cri_knows() { ctr images ls "name==$1" 2>/dev/null | grep -q io.cri-containerd.image=managed; }

cmd_exec() {
  [ $# -gt 0 ] || { usage >&2; exit 2; }
  alive "$dir/run/init" || die "not up: $dir"
  # a mount namespace of its own for the cluster's resolver; /sys stays as it is (ip netns exec would hide it)
  # shellcheck disable=SC2016
  KUBECONFIG=$dir/kubeconfig PATH=$dir/bin:$PATH exec nsenter --net="/proc/$(init_pid)/ns/net" unshare --mount -- \
    sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$dir/run/resolv-exec.conf" "$@"
}

cmd_status() {
  if ! [ -e "$dir/run/init" ] || ! alive "$dir/run/init"; then echo "down"; exit 3; fi
  [ -s "$dir/run/ended" ] && sed 's/^/ENDED: /' "$dir/run/ended"
  echo "KUBECONFIG=$dir/kubeconfig"
  timeout 20 "$dir/bin/kubectl" --kubeconfig "$dir/kubeconfig" get nodes,pods -A -o wide 2>&1
  timeout 20 "$dir/bin/kubectl" --kubeconfig "$dir/kubeconfig" get nodes 2>/dev/null | grep -q ' Ready' || exit 3
}

cmd_logs() {
  local f
  for f in "$dir"/log/${1:-*}.log; do
    [ -s "$f" ] && { echo "--- ${f##*/}"; tail -n 12 "$f" | cut -c 1-300; }
  done
  return 0
}

cmd_down() {
  need_root
  local pid f d had=""
  for f in init relay; do
    [ -e "$dir/run/$f" ] && alive "$dir/run/$f" || continue
    had=1
    pid=$(cut -d ' ' -f 1 "$dir/run/$f")
    # the relay forks a child for each connection: all of its process group; init: the kernel ends the whole pid namespace
    if [ $f = relay ]; then kill -TERM -- "-$pid" 2>/dev/null; else kill -KILL "$(init_pid)" 2>/dev/null || kill -KILL "$pid"; fi
    for _ in $(seq 150); do alive "$dir/run/$f" || break; sleep 0.1; done
    ! alive "$dir/run/$f" || die "process $pid ($f) does not end"
  done
  for f in /sys/fs/cgroup/"$(name)" /sys/fs/cgroup/*/"$(name)"; do
    [ -d "$f" ] || continue
    for _ in $(seq 50); do find "$f" -depth -type d -exec rmdir {} + 2>/dev/null; [ -d "$f" ] || break; sleep 0.1; done
    [ ! -d "$f" ] || say "left over: $f"
  done
  [ -s "$dir/run/made" ] && while read -r d; do rmdir "$d" 2>/dev/null; done <"$dir/run/made"
  rm -rf --one-file-system "$dir/state" "$dir/run" "$dir/kubeconfig" "$dir/log.last" || die "cannot remove $dir/state"
  [ -d "$dir/log" ] && mv "$dir/log" "$dir/log.last"
  [ "${1:-}" = quiet ] || { [ -n "$had" ] && say "stopped; the last logs are in $dir/log.last" || say "nothing was running"; }
}

# ---------------------------------------------------------------------------------------------------------- main
cmd=${1:-}
case "$cmd" in
build | up | load | exec | status | logs | down) ;;
-h | --help | help) usage; exit 0 ;;
*) usage >&2; exit 2 ;;
esac
[ -n "${2:-}" ] || { usage >&2; exit 2; }
dir=$(realpath -m "$2")
shift 2
"cmd_$cmd" "$@"; exit # on one line: this file may change while it runs
