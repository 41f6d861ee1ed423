//! Starting the binary, waiting for what it says, and ending it with the test.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// How long anything may take before a test gives up. Generous: a busy machine is no failure.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// The binary under test.
pub(crate) fn websockets_cli() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websockets-cli"));
    // A test is no step of GitHub's, even if it runs in one.
    command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs the binary to its end with standard input `input`.
pub(crate) fn run(args: &[&str], input: &str) -> Output {
    run_in(Path::new(env!("CARGO_MANIFEST_DIR")), args, input)
}

/// As [`run`], with `folder` as its working folder.
pub(crate) fn run_in(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = websockets_cli()
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A program that ends without reading its input is allowed to.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the binary ends")
}

/// The text of what a program wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A long-running command; killed when dropped.
pub(crate) struct Program {
    child: Child,
    stderr: Receiver<String>,
    /// What it said on standard error so far.
    pub(crate) said: Vec<String>,
}

impl Program {
    /// Starts the binary.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(websockets_cli().args(args))
    }

    /// Starts a command whose standard error is to be read line by line.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, stderr) = channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stderr, said: Vec::new() }
    }

    /// Starts the binary and waits for its line `listening on ADDR`.
    pub(crate) fn listening(args: &[&str]) -> (Self, SocketAddr) {
        let mut program = Self::start(args);
        let line = program.wait_for("listening on ");
        let address = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        (program, address)
    }

    /// Waits for a line on standard error that contains `part`.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(error) => panic!("waited for {part:?} ({error}); it said {:#?}", self.said),
            }
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads what it still says after its end.
    pub(crate) fn wait_for_end(&mut self) {
        while let Ok(line) = self.stderr.recv_timeout(TIMEOUT) {
            self.said.push(line);
        }
    }

    /// Its standard output.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output is piped")
    }

    /// Its standard input, if it was piped.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is piped")
    }

    /// Sends a signal by number.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("the process is there");
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().expect("it is ours"))
    }

    /// Waits for its end and returns what it wrote to standard output.
    pub(crate) fn output(&mut self) -> (ExitStatus, String) {
        let mut stdout = self.stdout();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            text(&bytes)
        });
        let status = self.end();
        (status, reader.join().expect("the reader ends"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until there is an answer; panics after [`TIMEOUT`].
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Both ends of a new terminal: the user's and the program's. No child of another test inherits
/// them, or this terminal would stay open after its own.
pub(crate) fn pseudo_terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let slave = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
    (File::from(master), File::from(slave.expect("its other end")))
}
