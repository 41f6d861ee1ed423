//! The name that was most likely meant by one that does not exist.

/// Of the known names the one that resembles `name` most (Jaro-Winkler, from 0 to 1), if it does so
/// `at_least` so much; of several the last.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>, at_least: f64) -> Option<&'n str> {
    let similar = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let (similarity, nearest) = similar.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (similarity >= at_least).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_a_name_that_is_similar_enough_is_meant() {
        assert_eq!(nearest("sned", ["send", "receive"], 0.75), Some("send"));
        assert_eq!(nearest("xyz", ["send", "receive"], 0.75), None);
        assert!(nearest("xyz", ["send", "receive"], 0.0).is_some());
        assert_eq!(nearest("send", [], 0.0), None);
    }
}
