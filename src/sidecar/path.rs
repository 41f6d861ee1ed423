//! Path normalisation as Envoy does it with `normalize_path` (RFC 3986 section 6.2, by way of its
//! URL library), slashes not merged and escaped slashes kept (`KEEP_UNCHANGED`), which is what
//! Istio configures.

use bytes::{Bytes, BytesMut};

/// The path has an escaped NUL (Envoy's `path_normalization_failed`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unnormalizable;

/// Normalises a path that begins with a slash: the fragment goes, escaped unreserved characters are
/// unescaped, other odd ones escaped, backslashes turned, dot segments resolved. The query stays as
/// it is.
pub(super) fn normalize(path: &Bytes) -> Result<Bytes, Unnormalizable> {
    let end = memchr::memchr(b'#', path).unwrap_or(path.len());
    let query = memchr::memchr(b'?', &path[..end]).unwrap_or(end);
    if path[..query].iter().all(|byte| is_kept(*byte) && *byte != b'.') {
        return Ok(path.slice(..end));
    }
    let mut out = without_dot_segments(&characters(&path[..query])?);
    out.extend_from_slice(&path[query..end]);
    Ok(out.freeze())
}

/// Characters that are neither escaped nor turned: an escape has to be looked at.
fn is_kept(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'%')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn characters(path: &[u8]) -> Result<Vec<u8>, Unnormalizable> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => match escaped(after) {
                Some(0) => return Err(Unnormalizable),
                Some(character) if is_unreserved(character) => {
                    out.push(character);
                    rest = &after[2..];
                }
                _ => out.push(b'%'),
            },
            b'\\' => out.push(b'/'),
            byte if is_kept(*byte) => out.push(*byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    Ok(out)
}

/// The character that two hexadecimal digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
    u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

/// RFC 3986 section 5.2.4; an empty segment is one like any other.
fn without_dot_segments(path: &[u8]) -> BytesMut {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if last {
                    kept.push(b"");
                }
            }
            segment => kept.push(segment),
        }
    }
    let mut out = BytesMut::with_capacity(path.len());
    for segment in kept {
        out.extend_from_slice(b"/");
        out.extend_from_slice(segment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_out_as_envoys_do() {
        let cases = [
            ("/", "/"),
            ("/a/../b", "/b"),
            ("/a/./b//c", "/a/b//c"),
            ("/%2e%2e/x", "/x"),
            ("/a/.%2E/b", "/b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a/%2e%2e%2fb", "/a/..%2fb"),
            ("/a%5cb", "/a%5cb"),
            ("/a\\..\\b", "/b"),
            ("/x#frag", "/x"),
            ("/x?y=1#frag", "/x?y=1"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/...", "/..."),
            ("/%zz", "/%zz"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%+4", "/a%+4"),
            ("/%7Euser%5f", "/~user_"),
            ("//a", "//a"),
            ("//..//a", "//a"),
            ("/a//../b", "/a/b"),
            ("/a/b/../../../c?x=/../y", "/c?x=/../y"),
            ("/a\"<>^`{|}b", "/a%22%3C%3E%5E%60%7B%7C%7Db"),
            ("/a?%41\"<>\\", "/a?%41\"<>\\"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalize(&Bytes::from(path)).unwrap(), expected, "{path}");
        }
        assert_eq!(normalize(&Bytes::from("/a%00b")), Err(Unnormalizable));
    }

    proptest::proptest! {
        #[test]
        fn a_normal_path_is_left_alone(path in "/[ -~]{0,30}") {
            let Ok(once) = normalize(&Bytes::from(path)) else { return Ok(()) };
            // Unescaping can make a new escape out of an incomplete one, so that a second pass
            // would go on.
            if !once.windows(3).any(|part| part[0] == b'%' && escaped(&part[1..]).is_some_and(is_unreserved)) {
                proptest::prop_assert_eq!(normalize(&once), Ok(once));
            }
        }
    }
}
