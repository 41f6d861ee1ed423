//! What open sessions cost the sidecar pair: memory each, and the sessions beside them that are at
//! work.
//!
//!     cargo bench --bench open_sessions [-- --sizes 0,1000,2000,4000,8000 --seconds 2]
//!
//! For both hops and each number of idle sessions one row: the memory of both sidecars, the latency
//! of one active session, and the messages of fifty active ones for each second of the sidecars'
//! CPU time. What does not grow is constant down the table; what grows in proportion has a constant
//! figure a session. The figures of the first row are the peer of the others in the same run. Not a
//! test: machines differ, and the table is for a reader.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A Service of the manifests; the client's sidecar picks its route by it.
const HOST: &str = "websockets-server.default.svc.cluster.local:8080";

/// A masked binary frame of 32 bytes, and what comes back for it.
const MESSAGE: [u8; 38] = {
    let mut frame = [0; 38];
    frame[0] = 0x82;
    frame[1] = 0x80 | 32;
    frame
};
const REPLY_LENGTH: usize = 34;

/// How many sessions are at work for the figures a CPU second.
const ACTIVE: usize = 50;

/// In which Linux tells CPU time (`USER_HZ`, 100 on every architecture of today).
const TICKS_A_SECOND: f64 = 100.0;

fn main() -> Outcome<()> {
    let options = Options::from_arguments()?;
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?.1;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit)?;
    let mut out = std::io::stdout();
    for (hop, policy) in [("HTTP/2", "manifests"), ("HTTP/1.1", "manifests/http1")] {
        writeln!(out, "\n{hop} between the sidecars, one worker each")?;
        writeln!(
            out,
            "{:>8} {:>10} {:>12} {:>9} {:>9} {:>18}",
            "sessions", "MiB both", "KiB each", "p50 us", "p99 us", "messages/CPU s"
        )?;
        let pair = Pair::start(policy)?;
        let empty = pair.memory_kib()?;
        let mut idle = Vec::new();
        for &size in &options.sizes {
            while idle.len() < size as usize {
                let mut session = Session::open(pair.address)?;
                session.echo()?;
                idle.push(session);
            }
            let memory = pair.memory_kib()?;
            // Two proxies hold each session.
            let each = (memory - empty) / 2.0 / f64::from(size.max(1));
            let (p50, p99) = latency(pair.address, options.time)?;
            let work = messages_a_cpu_second(&pair, options.time)?;
            writeln!(out, "{size:>8} {:>10.1} {each:>12.1} {p50:>9} {p99:>9} {work:>18.0}", memory / 1024.0)?;
        }
    }
    Ok(())
}

struct Options {
    sizes: Vec<u32>,
    time: Duration,
}

impl Options {
    /// `cargo bench` passes `--bench` of its own.
    fn from_arguments() -> Outcome<Self> {
        let mut options = Self { sizes: vec![0, 1000, 2000, 4000, 8000], time: Duration::from_secs(2) };
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--sizes" => options.sizes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--seconds" => options.time = Duration::from_secs_f64(value.parse()?),
                _ => return Err(format!("there is no {argument}; there are --sizes and --seconds").into()),
            }
        }
        options.sizes.sort_unstable();
        Ok(options)
    }
}

/// A program of the binary, ended with the run.
struct Program(Child);

impl Program {
    /// Starts it and waits for the address that it listens on.
    fn listening(arguments: &[&str]) -> Outcome<(Self, SocketAddr)> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_websockets-cli"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stderr.take().ok_or("standard error is piped")?).lines();
        let program = Self(child);
        for line in said.by_ref() {
            if let Some(address) = line?.strip_prefix("listening on ") {
                let address = address.parse()?;
                // Whatever else it says is read and dropped, so that it never waits for its reader.
                thread::spawn(move || said.for_each(drop));
                return Ok((program, address));
            }
        }
        Err(format!("{arguments:?} ended before it listened").into())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Echo server and both sidecars, each a process.
struct Pair {
    address: SocketAddr,
    sidecars: [Program; 2],
    _server: Program,
}

impl Pair {
    fn start(policy: &str) -> Outcome<Self> {
        let any = "127.0.0.1:0";
        let (server, application) = Program::listening(&["server", "--listen", any])?;
        let sidecar = |direction, endpoint: SocketAddr, workload| {
            Program::listening(&[
                "sidecar",
                direction,
                "--listen",
                any,
                "--endpoint",
                &endpoint.to_string(),
                "--workload",
                workload,
                "--concurrency",
                "1",
                "--access-log",
                "/dev/null",
                "-f",
                "manifests/websockets-server.yaml",
                "-f",
                "manifests/websockets-client.yaml",
                "-f",
                "manifests/envoy-filter.yaml",
                "-f",
                &format!("{policy}/destination-rule.yaml"),
            ])
        };
        let (inbound, server_sidecar) = sidecar("inbound", application, "websockets-server")?;
        let (outbound, address) = sidecar("outbound", server_sidecar, "websockets-client-sleep")?;
        Ok(Self { address, sidecars: [outbound, inbound], _server: server })
    }

    /// What both sidecars take: each one's own memory, and once what they share, which is the
    /// program's text.
    fn memory_kib(&self) -> Outcome<f64> {
        let field = |pid: u32, name: &str| -> Outcome<f64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(value.and_then(|value| value.split_whitespace().next()).ok_or("no such field")?.parse()?)
        };
        let [one, other] = self.sidecars.each_ref().map(|sidecar| field(sidecar.0.id(), "RssFile"));
        Ok(self.sum(|pid| field(pid, "RssAnon"))? + one?.max(other?))
    }

    /// User and system time of both sidecars so far.
    fn cpu_seconds(&self) -> Outcome<f64> {
        self.sum(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks =
                |index: usize| -> Outcome<f64> { Ok(fields.get(index).ok_or("a short stat")?.parse()?) };
            // utime and stime (proc_pid_stat(5)), counted from behind the name.
            Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
        })
    }

    fn sum(&self, of: impl Fn(u32) -> Outcome<f64>) -> Outcome<f64> {
        self.sidecars.iter().map(|sidecar| of(sidecar.0.id())).sum()
    }
}

/// A client's end of a session.
struct Session(TcpStream);

impl Session {
    fn open(address: SocketAddr) -> Outcome<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        // The server does not speak first, so nothing follows the head.
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&head).into_owned().into());
        }
        Ok(Self(stream))
    }

    /// Sends a message and waits until it has come back.
    fn echo(&mut self) -> Outcome<Duration> {
        let started = Instant::now();
        self.0.write_all(&MESSAGE)?;
        self.0.read_exact(&mut [0; REPLY_LENGTH])?;
        Ok(started.elapsed())
    }
}

/// The median and the 99th percentile of one session with one message in flight, in microseconds.
fn latency(address: SocketAddr, time: Duration) -> Outcome<(u128, u128)> {
    let mut session = Session::open(address)?;
    let end = Instant::now() + time;
    let mut all = Vec::new();
    while Instant::now() < end {
        all.push(session.echo()?);
    }
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_micros();
    Ok((at(50), at(99)))
}

/// What [`ACTIVE`] sessions with one message in flight each come to.
fn messages_a_cpu_second(pair: &Pair, time: Duration) -> Outcome<f64> {
    let sessions = (0..ACTIVE).map(|_| Session::open(pair.address)).collect::<Outcome<Vec<_>>>()?;
    let before = pair.cpu_seconds()?;
    let end = Instant::now() + time;
    let work = move |mut session: Session| -> Outcome<u32> {
        let mut messages = 0;
        while Instant::now() < end {
            session.echo()?;
            messages += 1;
        }
        Ok(messages)
    };
    let threads: Vec<_> = sessions.into_iter().map(|session| thread::spawn(move || work(session))).collect();
    let mut messages = 0;
    for thread in threads {
        messages += thread.join().map_err(|_| "a session's thread panicked")??;
    }
    Ok(f64::from(messages) / (pair.cpu_seconds()? - before))
}
