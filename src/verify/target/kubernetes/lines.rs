//! Which lines of two sidecars' logs are those of our sessions: others use the mesh too, and Envoy
//! writes there what is no access log. Plain functions over text.

use std::collections::HashSet;

use crate::access_log::{BySide, LineFormat, ParsedLine};

/// How our sessions are told from others.
#[derive(Debug)]
pub(super) enum Ours<'a> {
    /// By the request ids that they were given.
    RequestIds(&'a HashSet<String>),
    /// The client chooses no id: by being new, and for this authority.
    Since {
        /// The client's sidecar's lines from before.
        before: &'a HashSet<String>,
        /// What requests carry as `Host`.
        authority: &'a str,
    },
}

/// The lines of our sessions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OurLines {
    pub(super) lines: BySide<Vec<ParsedLine>>,
    /// A line that speaks of our sessions and is in no known format.
    pub(super) unreadable: Option<String>,
}

impl Ours<'_> {
    fn is(&self, line: &ParsedLine) -> bool {
        match self {
            Self::RequestIds(ids) => line.text_of("request_id").is_some_and(|id| ids.contains(id)),
            Self::Since { before, authority } => {
                !before.contains(line.text()) && line.text_of("authority") == Some(*authority)
            }
        }
    }
}

/// Picks the lines of our sessions: at the client's side as `ours` says; at the server's those with
/// the same request id, or without any and from a connection of one of these.
pub(super) fn pick<'t>(
    ours: &Ours<'_>,
    format: &LineFormat,
    client: &str,
    servers: impl IntoIterator<Item = &'t str>,
) -> OurLines {
    let mut found = OurLines::default();
    let (mut ids, mut connections) = (HashSet::new(), HashSet::new());
    for text in client.lines() {
        let Some(line) = format.read(text) else {
            if let Ours::RequestIds(ids) = ours
                && ids.iter().any(|id| text.contains(id.as_str()))
            {
                found.unreadable = Some(text.to_owned());
            }
            continue;
        };
        if ours.is(&line) {
            ids.extend(line.text_of("request_id").map(str::to_owned));
            connections.extend(line.text_of("upstream_local_address").map(str::to_owned));
            found.lines.client.push(line);
        }
    }
    for text in servers.into_iter().flat_map(str::lines) {
        let Some(line) = format.read(text) else { continue };
        let is_ours = match line.text_of("request_id") {
            Some(id) => ids.contains(id),
            None => line.text_of("downstream_remote_address").is_some_and(|peer| connections.contains(peer)),
        };
        if is_ours {
            found.lines.server.push(line);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, local: &str, remote: &str) -> String {
        format!(
            "{{\"authority\":\"a:80\",\"request_id\":{id},\"upstream_local_address\":\"{local}\",\
             \"downstream_remote_address\":\"{remote}\"}}"
        )
    }

    fn texts(lines: &[ParsedLine]) -> Vec<&str> {
        lines.iter().map(ParsedLine::text).collect()
    }

    fn set(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn lines_of_others_and_what_is_no_line_are_left_out() {
        let client =
            format!("[warning] started\n{}\n{}\n", line("\"x\"", "c:1", "-"), line("\"y\"", "c:2", "-"));
        let servers = [
            format!("{}\n{}\n", line("\"y\"", "-", "c:2"), line("null", "-", "c:9")),
            format!("{}\n{}\n", line("\"x\"", "-", "c:1"), line("null", "-", "c:1")),
        ];
        let ids = set(&["x"]);
        let found = pick(
            &Ours::RequestIds(&ids),
            &LineFormat::default(),
            &client,
            servers.iter().map(String::as_str),
        );
        assert_eq!(texts(&found.lines.client), [line("\"x\"", "c:1", "-")]);
        assert_eq!(texts(&found.lines.server), [line("\"x\"", "-", "c:1"), line("null", "-", "c:1")]);
    }

    #[test]
    fn where_the_client_chooses_no_id_new_lines_for_the_authority_are_ours() {
        let (old, new) = (line("\"x\"", "c:1", "-"), line("\"y\"", "c:2", "-"));
        let elsewhere = new.replace("a:80", "b:80");
        let before = set(&[&old]);
        let ours = Ours::Since { before: &before, authority: "a:80" };
        let found =
            pick(&ours, &LineFormat::default(), &[old.clone(), elsewhere, new.clone()].join("\n"), [""]);
        assert_eq!(texts(&found.lines.client), [new]);
    }

    #[test]
    fn lines_of_istios_text_format_are_read_too() {
        let text = |id: &str, upstream_local: &str, remote: &str| {
            format!(
                "[2026-01-01T00:00:00.000Z] \"GET / HTTP/1.1\" 101 - - - \"-\" 1 2 3 - \"-\" \"-\" \"{id}\" \"a:80\" \
                 \"10.0.0.1:80\" outbound|80||a {upstream_local} 10.0.0.2:80 {remote} - default"
            )
        };
        let ids = set(&["x"]);
        let (client, server) =
            (text("x", "10.0.0.9:1", "10.0.0.9:5"), text("x", "127.0.0.6:1", "10.0.0.9:1"));
        let found = pick(&Ours::RequestIds(&ids), &LineFormat::default(), &client, [server.as_str()]);
        assert_eq!(
            (texts(&found.lines.client), texts(&found.lines.server)),
            (vec![&*client], vec![&*server])
        );
        assert_eq!(found.lines.server[0].text_of("downstream_remote_address"), Some("10.0.0.9:1"));
    }

    #[test]
    fn a_line_of_ours_in_an_unknown_format_is_kept_to_be_named() {
        let ids = set(&["x"]);
        let found = pick(&Ours::RequestIds(&ids), &LineFormat::default(), "custom x 101\n", [""]);
        assert_eq!(found, OurLines { unreadable: Some("custom x 101".to_owned()), ..OurLines::default() });
    }
}
