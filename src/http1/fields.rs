//! Header fields in the order in which they were received or added (RFC 9110 section 5).
//!
//! `http::HeaderMap` does not keep the order once an entry is removed, and a proxy's peers see the
//! order; so this is a list. A request has a dozen fields: a walk is as fast as a table.

use http::{HeaderMap, HeaderName, HeaderValue};

/// An ordered list of header fields. Names are lower case, as `http` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(HeaderName, HeaderValue)>);

impl Fields {
    /// No field.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the first field of that name.
    pub fn get<N: PartialEq<HeaderName> + ?Sized>(&self, name: &N) -> Option<&HeaderValue> {
        self.0.iter().find(|(candidate, _)| *name == *candidate).map(|(_, value)| value)
    }

    /// Whether there is a field of that name.
    pub fn contains<N: PartialEq<HeaderName> + ?Sized>(&self, name: &N) -> bool {
        self.get(name).is_some()
    }

    /// The values of all fields of that name.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
        self.0.iter().filter(move |(candidate, _)| candidate == name).map(|(_, value)| value)
    }

    /// The elements of the comma lists in all fields of that name, without blanks around them (RFC
    /// 9110 section 5.6.1). A field that is not visible ASCII has none.
    pub fn elements<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
        self.get_all(name)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|element| element.trim_matches([' ', '\t']))
            .filter(|element| !element.is_empty())
    }

    /// Whether the comma lists of that name have this element, whatever its letter case.
    #[must_use]
    pub fn has_element(&self, name: &HeaderName, element: &str) -> bool {
        self.elements(name).any(|candidate| candidate.eq_ignore_ascii_case(element))
    }

    /// Adds a field at the end.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Gives the first field of that name this value and drops the others; adds it at the end where
    /// there was none.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(position) = self.0.iter().position(|(candidate, _)| *candidate == name) else {
            return self.append(name, value);
        };
        self.0[position].1 = value;
        let mut index = 0;
        self.0.retain(|(candidate, _)| {
            index += 1;
            index - 1 <= position || *candidate != name
        });
    }

    /// Drops all fields of that name; the others keep their order.
    pub fn remove<N: PartialEq<HeaderName> + ?Sized>(&mut self, name: &N) {
        self.0.retain(|(candidate, _)| *name != *candidate);
    }

    /// Makes one field of all of that name, at the place of the first: their values, separated by
    /// commas.
    pub fn join(&mut self, name: &HeaderName) {
        if self.get_all(name).nth(1).is_none() {
            return;
        }
        let values: Vec<&[u8]> = self.get_all(name).map(HeaderValue::as_bytes).collect();
        // Values with a comma between them are a value.
        if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b","[..])) {
            self.set(name.clone(), joined);
        }
    }

    /// Keeps the fields that the predicate wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl From<Fields> for HeaderMap {
    fn from(fields: Fields) -> Self {
        let mut map = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields.0 {
            map.append(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, DATE, SERVER, UPGRADE};

    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn setting_keeps_the_place_of_the_first_and_drops_the_others() {
        let mut fields: Fields =
            [(SERVER, value("a")), (DATE, value("now")), (SERVER, value("b"))].into_iter().collect();
        fields.set(SERVER, value("envoy"));
        let expected: Fields = [(SERVER, value("envoy")), (DATE, value("now"))].into_iter().collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn joined_fields_are_one_at_the_place_of_the_first() {
        let mut fields: Fields =
            [(UPGRADE, value("a")), (DATE, value("now")), (UPGRADE, value("")), (UPGRADE, value("b"))]
                .into_iter()
                .collect();
        fields.join(&UPGRADE);
        fields.join(&DATE);
        fields.join(&SERVER);
        let expected: Fields = [(UPGRADE, value("a,,b")), (DATE, value("now"))].into_iter().collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn removing_keeps_the_order_of_the_rest() {
        let mut fields: Fields =
            [(UPGRADE, value("x")), (DATE, value("now")), (SERVER, value("b"))].into_iter().collect();
        fields.remove(&UPGRADE);
        let expected: Fields = [(DATE, value("now")), (SERVER, value("b"))].into_iter().collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn elements_of_several_fields_are_one_list() {
        let fields: Fields =
            [(CONNECTION, value("keep-alive, ")), (CONNECTION, value(" Upgrade"))].into_iter().collect();
        assert!(fields.has_element(&CONNECTION, "upgrade"));
        assert_eq!(fields.elements(&CONNECTION).collect::<Vec<_>>(), ["keep-alive", "Upgrade"]);
    }
}
