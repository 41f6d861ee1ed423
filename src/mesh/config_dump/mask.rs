//! A dump without its secrets, for who shows lines of it. Envoy leaves private keys out by itself;
//! what a header, a filter or a bootstrap has of them it does not.

use std::sync::Arc;

use super::text_at;
use crate::yaml::{self, NodeRef, Text};

/// Fields whose values are nobody's business.
const SECRET: [&str; 12] = [
    "clientSecret",
    "hmacSecret",
    "inlineBytes",
    "inlineString",
    "password",
    "privateKey",
    "privateKeyProvider",
    "secret",
    "secretKey",
    "sessionToken",
    "sessionTicketKeys",
    "token",
];

/// Header fields whose values are nobody's business.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// The text with stars for each byte of a secret, so that every place stays where it is. A text that
/// is no document has none that could be told from the rest, and is all stars.
#[must_use]
pub fn masked(text: &Arc<Text>) -> Arc<Text> {
    let mut bytes = text.text.clone().into_bytes();
    match yaml::documents(text) {
        Ok(documents) => documents.iter().for_each(|document| search(document.root(), &mut bytes)),
        Err(_) => bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*'),
    }
    Text::new(&text.name, String::from_utf8(bytes).unwrap_or_default())
}

fn search(node: NodeRef<'_>, bytes: &mut [u8]) {
    let url = text_at(node, "@type").unwrap_or_default();
    let header = text_at(node, "key").is_some_and(|key| SECRET_HEADERS.contains(&&*key.to_ascii_lowercase()));
    if url.contains("SecretsConfigDump") || url.ends_with(".tls.v3.Secret") {
        return cover(node, bytes);
    }
    for entry in node.entries() {
        let key = crate::yaml::lower_camel_case(entry.key().unwrap_or_default());
        if SECRET.contains(&&*key) || (header && key == "value") {
            cover(entry, bytes);
        } else {
            search(entry, bytes);
        }
    }
    node.items().for_each(|item| search(item, bytes));
}

/// Covers all scalars in a value.
fn cover(node: NodeRef<'_>, bytes: &mut [u8]) {
    let is_scalar = node.entries().len() == 0 && node.items().len() == 0;
    if is_scalar && let Some(bytes) = bytes.get_mut(node.place_of_value().span) {
        bytes.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b'*');
    }
    node.entries().chain(node.items()).for_each(|value| cover(value, bytes));
}
