"""Two proxies in a row on loopback, whatever they are: options, processes, logs. envoy_pair.py and sidecar_pair.py start them.

    client --HTTP/1.1--> [client sidecar, outbound] --HTTP/1.1 or HTTP/2--> [server sidecar, inbound] --HTTP/1.1--> application
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

HOST = "websockets-server.default.svc.cluster.local"
SIDES = ("client", "server")
# Where the recordings' addresses are; each job of a replay has a network of its own instead (`claim_network`).
RECORDED_NETWORK = "127.0.10."
NETWORKS = range(11, 100)
PATIENCE = 30  # seconds that a proxy may take to start or to end


@dataclasses.dataclass
class Options:
    h2_upgrade: str = "DO_NOT_UPGRADE"  # DestinationRule connectionPool.http.h2UpgradePolicy
    allow_connect: str = "off"  # server sidecar inbound HCM http2_protocol_options.allow_connect
    upstream_allow_connect: str = "off"  # client sidecar outbound cluster http2 options (Istio: unset)
    outbound_allow_connect: str = "off"  # client sidecar outbound listener HCM (Istio: unset)
    mtls: bool = False
    outbound_policy: str = "ALLOW_ANY"  # ALLOW_ANY | REGISTRY_ONLY | NO_CATCH_ALL
    max_concurrent_streams: int = 0  # server sidecar inbound (0: Envoy default)
    upstream_max_streams: int = 0  # DestinationRule connectionPool.http.maxConcurrentStreams
    stream_idle_timeout: str = "0s"  # Istio: 0s on both sides
    server_stream_idle_timeout: str = ""  # server side only, if different
    tcp_idle_timeout: str = ""  # DestinationRule connectionPool.http.idleTimeout (outbound cluster)
    max_conn_duration: str = ""  # DestinationRule connectionPool.tcp.maxConnectionDuration
    route_timeout: str = "0s"  # VirtualService timeout on the outbound route (Istio: 0s)
    upgrades: str = "websocket"  # HCM upgrade_configs (Istio: websocket); comma list or empty
    retry: str = "on"  # Istio's default retry policies
    log_encoding: str = "JSON"  # JSON | TEXT
    delayed_close: str = ""  # HCM delayed_close_timeout (Envoy default 1s)
    outbound: str = "127.0.10.1:8080"  # stands for the Service VIP:port the application dials
    inbound: str = "127.0.10.2:8000"  # stands for the server pod IP:targetPort (captured inbound)
    app: str = "127.0.10.3:8001"  # where the application really listens
    upstream: str = ""  # what the client sidecar dials (default: inbound); a wire tap can sit here
    passthrough: str = "127.0.10.4:8002"  # PassthroughCluster's one host (stands for ORIGINAL_DST)
    client_admin: str = "127.0.10.1:15000"
    server_admin: str = "127.0.10.2:15000"

    def moved_to(self, network):
        """The same with the addresses of another network, such as `127.0.11.`."""
        return moved(self, network)


def moved(options, network):
    """Options with the addresses of another network."""
    addresses = {name: value.replace(RECORDED_NETWORK, network) for name, value in vars(options).items() if type(value) is str}
    return dataclasses.replace(options, **addresses)


# The sockets that keep a network ours for as long as this process lives.
CLAIMS = []


def claim_network():
    """A loopback network, such as `127.0.11.`, that no other process has claimed, and where nobody listens."""
    for number in NETWORKS:
        network = f"127.0.{number}."
        if claim := bound(f"{network}254:9"):
            if is_free(network):
                CLAIMS.append(claim)
                return network
            claim.close()
    raise RuntimeError(f"other processes use all networks from 127.0.{NETWORKS[0]}.x to 127.0.{NETWORKS[-1]}.x")


def bound(address):
    """A socket that is bound there, or None if the address is taken."""
    sock = socket.socket()
    # As a server has it: connections that have ended there do not count.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    host, port = address.rsplit(":", 1)
    try:
        sock.bind((host, int(port)))
        sock.listen()
    except OSError:
        sock.close()
        return None
    return sock


def is_free(network):
    """Whether nobody listens on the addresses of a pair; two Envoys would share one, and each other's clients."""
    options = Options().moved_to(network)
    addresses = (options.outbound, options.inbound, options.app, options.passthrough, options.client_admin, options.server_admin)
    sockets = [bound(address) for address in addresses]
    for sock in filter(None, sockets):
        sock.close()
    return all(sockets)


class Pair:
    """Two processes; what they are called with, and how one knows that they are ready, the class below it says."""

    sides = SIDES  # as a request meets them

    def __init__(self, options):
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="pair-")
        self.processes = {}

    def command(self, side):
        """The words of one proxy's command line; its files are in `self.folder`."""
        raise NotImplementedError

    def is_ready(self, side):
        raise NotImplementedError

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        """A file of the folder; nothing if the proxy has not made it yet."""
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    # ------------------------------------------------------------ processes
    def start(self):
        self.make_certificates()
        for side in reversed(self.sides):
            self.start_one(side)
        for side in reversed(self.sides):
            self.wait_until_ready(side)
        return self

    def make_certificates(self):
        if self.options.mtls:
            make_certificates(self.folder)

    def start_one(self, side):
        with open(self.path(f"{side}.stderr"), "w", encoding="utf-8") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            self.processes[side] = subprocess.Popen(self.command(side), **streams, start_new_session=True)

    def wait_until_ready(self, side):
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready(side):
            status = self.processes[side].poll()
            if status is not None:
                raise RuntimeError(f"{side} ended with {status}: {self.standard_error(side)[-2000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{side} is not ready: {self.standard_error(side)[-2000:]}")
            time.sleep(0.02)

    def stop_one(self, side, signal_number=signal.SIGTERM):
        process = self.processes.get(side)
        if process and process.poll() is None:
            process.send_signal(signal_number)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self):
        for side in self.sides:
            self.stop_one(side)

    def clean_up(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    __enter__ = start

    def __exit__(self, *exception):
        self.stop()
        self.clean_up()

    # ------------------------------------------------------------ what they say
    def logs(self, side):
        """The text of an access log."""
        return self.read(self.log_name(side))

    def log_name(self, side):
        return f"{side}-sidecar.jsonl"

    def standard_error(self, side):
        return self.read(f"{side}.stderr")

    def admin(self, side, path, method="GET"):
        """The body of an answer of the admin port."""
        address = getattr(self.options, f"{side}_admin")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"http://{address}{path}", method=method)
        with opener.open(request, timeout=PATIENCE) as response:
            return response.read().decode()


# ---------------------------------------------------------------- certificates
EXTENSIONS = """\
subjectAltName=critical,URI:spiffe://cluster.local/ns/default/sa/{account}
extendedKeyUsage=serverAuth,clientAuth
keyUsage=critical,digitalSignature,keyEncipherment
"""
NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


def make_certificates(folder):
    """A throw-away CA and two workload certificates with SPIFFE URI SANs."""

    def openssl(command):
        subprocess.run(["openssl", *command.split()], check=True, cwd=folder, capture_output=True)

    openssl(f"req -x509 {NEW_KEY} -keyout ca.key -out ca.crt -days 2 -subj /O=cluster.local")
    for side, account in (("client", "default"), ("server", "websockets-server")):
        with open(os.path.join(folder, f"{side}.extensions"), "w", encoding="utf-8") as file:
            file.write(EXTENSIONS.format(account=account))
        openssl(f"req {NEW_KEY} -keyout {side}.key -out {side}.csr -subj /")
        signed = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2"
        openssl(f"x509 -req -in {side}.csr {signed} -out {side}.crt -extfile {side}.extensions")
