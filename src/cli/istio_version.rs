//! The value of `--istio-version`.

/// Takes a version as Istio's proxies say it, for instance `1.27`, `1.27.0` and `1.28-alpha.abc`.
///
/// # Errors
///
/// What is no such version: no `proxyVersion` would match it, and filters would count as not in force.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (release, _) = text.split_once(['-', '+']).unwrap_or((text, ""));
    let parts: Vec<_> = release.split('.').collect();
    let is_version = (2..=3).contains(&parts.len())
        && parts.into_iter().all(number)
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_version
        .then(|| text.to_owned())
        .ok_or_else(|| "expected a version of Istio, such as 1.27.0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn versions_of_istio_are_taken_and_nothing_else() {
        for version in ["1.27", "1.27.0", "1.4.10", "1.28-alpha.0a1b", "1.26.2-distroless", "1.28.0-beta+x"] {
            assert_eq!(parse(version).as_deref(), Ok(version));
        }
        for text in
            ["", "abc", "1", "1.", ".27", "v1.27", "1.27.0.1", "1.x", "-1.27", "1.27-a\u{1b}", "1.27 "]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
