//! What a line on the terminal means: a text message, or a command if it starts with a slash.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustyline::completion::unescape;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

use crate::websocket::close_code;

/// The command that takes a path.
pub(super) const FILE: &str = "/file";

/// The payload of a control frame (RFC 6455 section 5.5), from which a Close takes two bytes for
/// its code.
const MAX_CONTROL_BYTES: usize = 125;

/// How each command is typed, and what it does.
const COMMANDS: [(&str, &str); 9] = [
    ("/help", "show this"),
    ("/ping [TEXT]", "send a ping, and show how long its pong takes"),
    ("/pong [TEXT]", "send a pong that nobody asked for"),
    ("/binary HEX", "send a binary message"),
    ("/base64 DATA", "send a binary message"),
    ("/file PATH", "send a file: as text if it is UTF-8, else as binary"),
    ("/close [CODE [REASON]]", "close the connection, with 1000 if there is no code"),
    ("/reconnect", "close the connection, and open another one"),
    ("/headers", "show both heads of the opening handshake"),
];

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PromptCommand {
    Send(Message),
    Reconnect,
    Headers,
    Help,
}

/// Why a command cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(
        "no command is called {0}; /help shows all, and a message that starts with a slash needs two: /{0}"
    )]
    Unknown(String),
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("not hexadecimal, two digits a byte: {0}")]
    Hex(String),
    #[error("not base64: {0}")]
    Base64(base64::DecodeError),
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("at most {limit} bytes fit, and these are {size}")]
    TooLong { limit: usize, size: usize },
    #[error("not a close code that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999): {0}")]
    CloseCode(String),
}

/// What a line means.
pub(super) fn parse(line: String) -> Result<PromptCommand, CommandError> {
    let Some(command) = line.strip_prefix('/') else { return Ok(PromptCommand::Send(Message::text(line))) };
    if command.starts_with('/') {
        return Ok(PromptCommand::Send(Message::text(command)));
    }
    let (name, argument) = line.split_once(' ').unwrap_or((&line, ""));
    let message = match (name, argument.trim()) {
        ("/help", "") => return Ok(PromptCommand::Help),
        ("/headers", "") => return Ok(PromptCommand::Headers),
        ("/reconnect", "") => return Ok(PromptCommand::Reconnect),
        ("/ping", _) => Message::Ping(control(argument)?),
        ("/pong", _) => Message::Pong(control(argument)?),
        ("/binary", digits) if !digits.is_empty() => Message::binary(hex(digits)?),
        ("/base64", data) if !data.is_empty() => {
            Message::binary(STANDARD.decode(data).map_err(CommandError::Base64)?)
        }
        (FILE, path) if !path.is_empty() => file(path)?,
        ("/close", argument) => close_message(argument)?,
        (name, _) => return Err(usage(name)),
    };
    Ok(PromptCommand::Send(message))
}

/// The names of all commands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(form, _)| form.split_once(' ').map_or(*form, |(name, _)| name))
}

/// The text of `/help`.
pub(super) fn help() -> String {
    let mut text = String::new();
    for (form, meaning) in COMMANDS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{form:<23} {meaning}");
    }
    text.push_str("//TEXT                  send a text that starts with a slash\n");
    text.push_str("Any other line is sent as a text message; Ctrl-D closes the connection.\n");
    text
}

/// A Close frame.
pub(super) fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}

fn usage(name: &str) -> CommandError {
    let form = COMMANDS.iter().map(|(form, _)| *form).find(|form| form.split(' ').next() == Some(name));
    form.map_or_else(|| CommandError::Unknown(name.to_owned()), CommandError::Usage)
}

fn control(text: &str) -> Result<Bytes, CommandError> {
    fits(text, MAX_CONTROL_BYTES)?;
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

fn fits(text: &str, limit: usize) -> Result<(), CommandError> {
    if text.len() > limit { Err(CommandError::TooLong { limit, size: text.len() }) } else { Ok(()) }
}

/// Bytes from hexadecimal digits, between which there may be blanks.
fn hex(text: &str) -> Result<Vec<u8>, CommandError> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|character| character.to_digit(16).and_then(|digit| digit.try_into().ok()))
        .collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(CommandError::Hex(text.to_owned())),
    }
}

/// A path as a shell would have it, and as completion writes it: in quotes, or with a backslash
/// before what is special.
fn unquoted(path: &str) -> Cow<'_, str> {
    if let Some(quoted) = path.strip_prefix('\'') {
        return quoted.strip_suffix('\'').unwrap_or(quoted).into();
    }
    let quoted = path.strip_prefix('"').map(|quoted| quoted.strip_suffix('"').unwrap_or(quoted));
    unescape(quoted.unwrap_or(path), Some('\\'))
}

/// A file as a message.
fn file(path: &str) -> Result<Message, CommandError> {
    let plain = unquoted(path);
    let from_home = plain.strip_prefix("~/").and_then(|rest| Some(std::env::home_dir()?.join(rest)));
    let name = from_home.unwrap_or_else(|| PathBuf::from(plain.as_ref()));
    let bytes = std::fs::read(name).map_err(|source| CommandError::File { path: path.to_owned(), source })?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    })
}

fn close_message(argument: &str) -> Result<Message, CommandError> {
    let (code, reason) = argument.split_once(' ').unwrap_or((argument, ""));
    let code = match code {
        "" => close_code::NORMAL,
        digits => digits
            .parse()
            .ok()
            .filter(|code| close_code::may_be_sent(*code))
            .ok_or_else(|| CommandError::CloseCode(digits.to_owned()))?,
    };
    fits(reason, MAX_CONTROL_BYTES - size_of::<u16>())?;
    Ok(close(code, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> Message {
        match parse(line.to_owned()).unwrap() {
            PromptCommand::Send(message) => message,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn fault(line: &str) -> String {
        parse(line.to_owned()).unwrap_err().to_string()
    }

    #[test]
    fn a_line_without_a_slash_is_a_text_and_two_slashes_are_one() {
        assert_eq!(sent("hello /ping"), Message::text("hello /ping"));
        assert_eq!(sent(""), Message::text(""));
        assert_eq!(sent("//ping x"), Message::text("/ping x"));
        assert_eq!(sent("///"), Message::text("//"));
    }

    #[test]
    fn commands_send_what_they_say() {
        assert_eq!(sent("/ping"), Message::Ping(Bytes::new()));
        assert_eq!(sent("/ping a b"), Message::Ping("a b".into()));
        assert_eq!(sent("/pong x"), Message::Pong("x".into()));
        assert_eq!(sent("/binary 00ff 0A"), Message::binary(vec![0, 255, 10]));
        assert_eq!(sent("/base64 AP8="), Message::binary(vec![0, 255]));
        assert_eq!(sent("/close"), close(1000, ""));
        assert_eq!(sent("/close 4000 so long"), close(4000, "so long"));
        for (line, command) in [
            ("/help", PromptCommand::Help),
            ("/headers", PromptCommand::Headers),
            ("/reconnect", PromptCommand::Reconnect),
        ] {
            assert_eq!(parse(line.to_owned()).unwrap(), command);
        }
    }

    #[test]
    fn a_file_is_text_if_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("a text");
        std::fs::write(&text, "line\n").unwrap();
        let binary = folder.path().join("binary");
        std::fs::write(&binary, b"\xff").unwrap();
        let typed = text.to_str().unwrap().replace(' ', "\\ ");
        assert_eq!(sent(&format!("/file {typed}")), Message::text("line\n"));
        for quote in ['"', '\''] {
            let line = format!("/file {quote}{}{quote}", text.display());
            assert_eq!(sent(&line), Message::text("line\n"), "{line}");
        }
        assert_eq!(sent(&format!("/file {}", binary.display())), Message::binary(vec![255]));
        assert!(fault("/file /no/such").starts_with("/no/such: "));
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        assert!(fault("/nothing").contains("no command is called /nothing"));
        assert!(fault("/Ping").contains("//Ping"));
        assert_eq!(fault("/binary"), "usage: /binary HEX");
        assert_eq!(fault("/help me"), "usage: /help");
        assert!(fault("/binary abc").starts_with("not hexadecimal"));
        assert!(fault("/binary zz").starts_with("not hexadecimal"));
        assert!(fault("/base64 ???").starts_with("not base64"));
        assert!(fault("/close 1005").contains("1005"));
        assert!(fault("/close now").contains("now"));
        assert_eq!(fault(&format!("/ping {}", "x".repeat(126))), "at most 125 bytes fit, and these are 126");
        assert!(fault(&format!("/close 1000 {}", "x".repeat(124))).starts_with("at most 123"));
    }
}
