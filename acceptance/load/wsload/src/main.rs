//! A WebSocket load generator for any echo server, or chain of proxies before one.
//!
//! It speaks RFC 6455 over TCP with masked frames made beforehand, so that it costs less than what it measures. Of an answer it
//! looks at the length alone. It is no WebSocket client: it never parses a frame, and its key and its mask are always the same.

use std::io;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Close with code 1000, masked.
const CLOSE: [u8; 8] = [0x88, 0x82, MASK[0], MASK[1], MASK[2], MASK[3], 0x03 ^ MASK[0], 0xe8 ^ MASK[1]];
/// The answer to it, which a server does not mask.
const CLOSE_REPLY_LENGTH: usize = 4;
/// The longest latency that is told from longer ones, in microseconds.
const MAX_LATENCY: u64 = 60_000_000;

#[derive(Parser)]
#[command(about = "A WebSocket load generator: prints one line of NAME=FIGURE")]
struct Args {
    /// Where to connect to, as host:port.
    #[arg(long)]
    target: String,
    /// The Host field [default: the target].
    #[arg(long)]
    host: Option<String>,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Keeps `depth` messages in flight on each connection.
    Echo {
        #[arg(long)]
        conns: usize,
        #[arg(long)]
        depth: usize,
        /// The length of a message in bytes.
        #[arg(long, default_value_t = 32)]
        size: usize,
        #[arg(long)]
        secs: f64,
    },
    /// Opens a session, echoes once and closes it, again and again, in `conns` lanes.
    Connect {
        #[arg(long)]
        conns: usize,
        #[arg(long)]
        secs: f64,
    },
    /// Opens sessions, echoes once on each, says how many there are, and holds them.
    Idle {
        #[arg(long)]
        conns: usize,
        #[arg(long)]
        secs: f64,
    },
}

/// Where sessions are opened, and as what.
#[derive(Clone)]
struct Endpoint {
    target: String,
    host: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let host = args.host.unwrap_or_else(|| args.target.clone());
    let endpoint = Endpoint { target: args.target, host };
    match args.load {
        Load::Echo { conns, depth, size, secs } => echo(&endpoint, conns, depth, size, secs).await,
        Load::Connect { conns, secs } => connect(&endpoint, conns, secs).await,
        Load::Idle { conns, secs } => idle(&endpoint, conns, secs).await,
    }
}

// ---------------------------------------------------------------- the loads

async fn echo(endpoint: &Endpoint, conns: usize, depth: usize, size: usize, secs: f64) -> io::Result<()> {
    let batch = frame(size).repeat(depth);
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(secs);
    let mut tasks = JoinSet::new();
    for _ in 0..conns {
        let stream = endpoint.open().await?;
        tasks.spawn(echo_until(end, stream, batch.clone(), reply_length(size) * depth));
    }
    let mut latencies = histogram();
    while let Some(batches) = tasks.join_next().await {
        latencies.add(batches.map_err(io::Error::other)??).map_err(io::Error::other)?;
    }
    let a_second = (latencies.len() * depth as u64) as f64 / started.elapsed().as_secs_f64();
    println!(
        "msgs_per_s={a_second:.0} MB_per_s={:.1} p50_us={} p99_us={} p999_us={} max_us={}",
        a_second * size as f64 / 1e6,
        latencies.value_at_quantile(0.5),
        latencies.value_at_quantile(0.99),
        latencies.value_at_quantile(0.999),
        latencies.max()
    );
    Ok(())
}

/// Sends batches one after another; how long each took until all of it was back, in microseconds.
async fn echo_until(
    end: Instant,
    mut stream: TcpStream,
    batch: Vec<u8>,
    reply: usize,
) -> io::Result<Histogram<u64>> {
    let mut latencies = histogram();
    let mut buffer = vec![0; 256 * 1024];
    while Instant::now() < end {
        let sent = Instant::now();
        let (mut reader, mut writer) = stream.split();
        tokio::try_join!(writer.write_all(&batch), skip(&mut reader, &mut buffer, reply))?;
        latencies.saturating_record(sent.elapsed().as_micros() as u64);
    }
    Ok(latencies)
}

async fn connect(endpoint: &Endpoint, conns: usize, secs: f64) -> io::Result<()> {
    let started = Instant::now();
    let end = started + Duration::from_secs_f64(secs);
    let mut lanes = JoinSet::new();
    for _ in 0..conns {
        let endpoint = endpoint.clone();
        lanes.spawn(async move {
            let (mut closed, mut failed) = (0_u64, 0_u64);
            while Instant::now() < end {
                match endpoint.whole_session().await {
                    Ok(()) => closed += 1,
                    Err(_) => failed += 1,
                }
            }
            (closed, failed)
        });
    }
    let (mut closed, mut failed) = (0, 0);
    while let Some(lane) = lanes.join_next().await {
        let lane = lane.map_err(io::Error::other)?;
        closed += lane.0;
        failed += lane.1;
    }
    println!("sessions_per_s={:.0} failed={failed}", closed as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

async fn idle(endpoint: &Endpoint, conns: usize, secs: f64) -> io::Result<()> {
    let started = Instant::now();
    let mut held = Vec::new();
    for _ in 0..conns {
        let mut stream = endpoint.open().await?;
        echo_once(&mut stream).await?;
        held.push(stream);
    }
    println!("held={} open_s={:.2}", held.len(), started.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs_f64(secs)).await;
    Ok(())
}

// ---------------------------------------------------------------- sessions

impl Endpoint {
    async fn open(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.target).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.host
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::with_capacity(512);
        // One byte at a time: nothing behind the head may be swallowed.
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
        }
        Ok(stream)
    }

    async fn whole_session(&self) -> io::Result<()> {
        let mut stream = self.open().await?;
        echo_once(&mut stream).await?;
        stream.write_all(&CLOSE).await?;
        // The Close comes back. The end of the connection follows a second later behind Envoy, and is not waited for.
        skip(&mut stream, &mut [0; CLOSE_REPLY_LENGTH], CLOSE_REPLY_LENGTH).await
    }
}

async fn echo_once(stream: &mut TcpStream) -> io::Result<()> {
    const SIZE: usize = 5;
    stream.write_all(&frame(SIZE)).await?;
    skip(stream, &mut [0; 64], reply_length(SIZE)).await
}

/// Reads so many bytes and forgets them.
async fn skip(reader: &mut (impl AsyncReadExt + Unpin), buffer: &mut [u8], length: usize) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let most = left.min(buffer.len());
        match reader.read(&mut buffer[..most]).await? {
            0 => return Err(io::Error::other("closed early")),
            read => left -= read,
        }
    }
    Ok(())
}

// ---------------------------------------------------------------- frames

/// A masked binary message of `size` times the letter x.
fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match size {
        0..=125 => frame.push(0x80 | size as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((size as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend((0..size).map(|index| b'x' ^ MASK[index & 3]));
    frame
}

/// How long the echo of a message of `size` bytes is, in one frame without a mask.
fn reply_length(size: usize) -> usize {
    size + match size {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY, 3).expect("bounds that a histogram can have")
}
