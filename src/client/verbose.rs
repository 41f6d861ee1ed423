//! What `-v` and `-vv` say: events of a connection as lines in curl's manner, `*` for facts, `>`
//! for what is sent, `<` for what is received. What a server sent cannot control the terminal.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connect::{ConnectEvent, FrameDirection, Observer, response_lines};
use crate::escape::escape;
use crate::tls::TlsFacts;
use crate::websocket::close_code;
use crate::websocket::frame_header::{FIN, FrameHeader};

/// Where the lines go: to standard error, or to whoever gathers them, so that they do not tear a
/// prompt.
#[derive(Debug, Clone, Default)]
pub struct VerboseObserver(Arc<Mutex<Option<String>>>);

impl VerboseObserver {
    /// Who is told the events.
    #[must_use]
    pub fn observer(&self) -> Observer {
        let verbose = self.clone();
        Observer::new(move |event| verbose.tell(&lines_of(event)))
    }

    fn tell(&self, lines: &[String]) {
        let mut gathered = self.lock();
        for line in lines {
            if let Some(gathered) = &mut *gathered {
                gathered.push_str(line);
                gathered.push('\n');
            } else {
                // A closed standard error does not end the session.
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }

    /// From now on keeps the lines instead of writing them.
    pub(super) fn gather(&self) {
        self.lock().get_or_insert_default();
    }

    /// The lines that came since the last time.
    pub(super) fn take(&self) -> String {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether lines have come since the last time.
    pub(super) fn has_gathered(&self) -> bool {
        self.lock().as_ref().is_some_and(|gathered| !gathered.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines for an event.
fn lines_of(event: &ConnectEvent<'_>) -> Vec<String> {
    let lines = match event {
        ConnectEvent::Resolved { host, addresses } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            vec![format!("* {host} is {}", addresses.join(", "))]
        }
        ConnectEvent::Unreachable(error) => vec![format!("* {error}")],
        ConnectEvent::Connected { peer, local: Some(local) } => {
            vec![format!("* connected to {peer} from {local}")]
        }
        ConnectEvent::Connected { peer, local: None } => vec![format!("* connected to {peer}")],
        ConnectEvent::Proxy(proxy) => vec![format!("* through the proxy {proxy}")],
        ConnectEvent::Tls(facts) => tls(facts),
        ConnectEvent::Settings(settings) => {
            let allows = if settings.allows_connect() { "allow" } else { "do not allow" };
            vec![format!("* HTTP/2, the server's SETTINGS {allows} extended CONNECT: {settings}")]
        }
        ConnectEvent::Request(lines) => lines.iter().map(|line| format!("> {line}")).collect(),
        ConnectEvent::Response(head) => response_lines(head).iter().map(|line| format!("< {line}")).collect(),
        ConnectEvent::Redirected { uri } => vec![format!("* redirected to {uri}")],
        ConnectEvent::Frame(direction, header) => vec![frame(*direction, header)],
        ConnectEvent::Failing { code, error } => {
            vec![format!("* closing with {code} ({}): {error}", close_code::name(*code))]
        }
    };
    lines.iter().map(|line| escape(line).into_owned()).collect()
}

fn tls(facts: &TlsFacts) -> Vec<String> {
    let alpn = facts.alpn.as_deref().unwrap_or("none");
    let verified = if facts.verified { "verified" } else { "not verified" };
    let mut lines = vec![format!("* {}, {}, ALPN {alpn}", facts.version, facts.cipher_suite)];
    if let Some(certificate) = &facts.certificate {
        lines.push(format!(
            "* certificate {verified} for {}: {}",
            facts.server_name,
            certificate.names.join(", ")
        ));
        lines.push(format!("*   subject {:?}, issuer {:?}", certificate.subject, certificate.issuer));
        lines.push(format!("*   valid until {}", certificate.not_after));
    }
    lines
}

fn frame(direction: FrameDirection, header: &FrameHeader) -> String {
    let arrow = match direction {
        FrameDirection::Sent => '>',
        FrameDirection::Received => '<',
    };
    let opcode = header.opcode();
    let name = match opcode {
        0 => "continuation",
        1 => "text",
        2 => "binary",
        8 => "close",
        9 => "ping",
        10 => "pong",
        _ => "reserved",
    };
    let fin = u8::from(header.first & FIN != 0);
    let rsv = header.first >> 4 & 7;
    let mask = header.mask.map_or("none".to_owned(), |key| format!("{:08x}", u32::from_be_bytes(key)));
    format!(
        "{arrow} frame {name} opcode={opcode} fin={fin} rsv={rsv:03b} mask={mask} length={}",
        header.length
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_told_with_all_that_its_header_says() {
        let header = FrameHeader { first: 0xc1, mask: Some([0xde, 0xad, 0xbe, 0xef]), length: 5 };
        assert_eq!(
            lines_of(&ConnectEvent::Frame(FrameDirection::Sent, header)),
            ["> frame text opcode=1 fin=1 rsv=100 mask=deadbeef length=5"]
        );
        let header = FrameHeader { first: 0x00, mask: None, length: 70000 };
        assert_eq!(
            lines_of(&ConnectEvent::Frame(FrameDirection::Received, header)),
            ["< frame continuation opcode=0 fin=0 rsv=000 mask=none length=70000"]
        );
    }

    #[test]
    fn what_a_server_sent_cannot_control_the_terminal() {
        let lines = vec!["x: \x1b[2J".to_owned()];
        assert_eq!(lines_of(&ConnectEvent::Request(&lines)), ["> x: \\x1b[2J"]);
    }
}
