//! Findings that their documents allow: by a comment at the line, or by an annotation of the
//! document that the finding is in.

use std::collections::HashMap;
use std::sync::Arc;

use super::finding::{Allowance, Finding, Level};
use super::rules::{self, UNKNOWN_CODE};
use super::set::Set;
use crate::nearest::nearest;
use crate::yaml::{Comment, Place, Text, comments};

/// What such a comment begins with: `# websockets-cli: allow CODE[, CODE…]`.
const MARK: &str = "websockets-cli:";

/// The annotation, whose value is `CODE[, CODE…]`.
const ANNOTATION: &str = "metadata.annotations.websockets-cli/allow";

/// The words that may stand behind the mark, and mean something to somebody; only the first does
/// here. Anything else is prose.
const ALLOW: &str = "allow";
const DENY: &str = "deny";

/// How similar a word has to be to be taken for one of those.
const SIMILAR: f64 = 0.87;

/// Allows what the documents allow, and finds what they mean to allow and do not.
pub(super) fn apply(set: &Set, texts: &[Arc<Text>], findings: &mut Vec<Finding>) {
    let mut unknown = Vec::new();
    let by_line = of_comments(texts, &mut unknown);
    let by_document = of_annotations(set, &mut unknown);
    if !by_line.is_empty() || !by_document.is_empty() {
        let documents = (!by_document.is_empty()).then(|| set.documents.by_place());
        for finding in findings.iter_mut() {
            let place = &finding.place;
            let at_line = by_line.get(&(&*place.file, place.line, finding.rule.code));
            let in_document = || {
                let begins = documents.as_ref()?.manifest(place)?.place();
                by_document.get(&(begins.file, begins.line, begins.column, finding.rule.code))
            };
            if let Some(allowed_at) = at_line.or_else(in_document) {
                finding.level = Level::Allowed(Allowance::Document(allowed_at.clone()));
            }
        }
    }
    findings.append(&mut unknown);
}

/// Where findings with a code are allowed: at a line of a file, or in a document that begins there.
type ByLine<'t> = HashMap<(&'t str, u64, &'static str), Place>;
type ByDocument = HashMap<(Arc<str>, u64, u64, &'static str), Place>;

fn of_comments<'t>(texts: &'t [Arc<Text>], unknown: &mut Vec<Finding>) -> ByLine<'t> {
    let mut allowed = HashMap::new();
    for text in texts {
        for Comment { place, words, line } in comments(text, MARK) {
            let (word, codes) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
            if word == ALLOW {
                for code in rules_of(codes, &place, unknown) {
                    allowed.entry((&*text.name, line, code)).or_insert_with(|| place.clone());
                }
            } else if nearest(word, [ALLOW, DENY], SIMILAR).is_some() {
                let message = format!("a comment can {ALLOW} findings, and cannot {word:?} any");
                unknown.push(UNKNOWN_CODE.at(place, message, format!("# {MARK} {ALLOW} {codes}")));
            }
        }
    }
    allowed
}

fn of_annotations(set: &Set, unknown: &mut Vec<Finding>) -> ByDocument {
    let mut allowed = HashMap::new();
    for manifest in set.documents.manifests() {
        let Some(annotation) = manifest.document.at(ANNOTATION) else { continue };
        let place = annotation.place();
        let begins = manifest.place();
        for code in rules_of(annotation.text().unwrap_or_default(), &place, unknown) {
            let key = (Arc::clone(&begins.file), begins.line, begins.column, code);
            allowed.entry(key).or_insert_with(|| place.clone());
        }
    }
    allowed
}

/// The codes of a list; the first that does not exist is a finding, and so is an empty list. What
/// stands behind it may be prose.
fn rules_of(codes: &str, place: &Place, unknown: &mut Vec<Finding>) -> Vec<&'static str> {
    let codes = codes.split(|character: char| character == ',' || character.is_whitespace());
    let mut found = Vec::new();
    let mut is_empty = true;
    for code in codes.filter(|code| !code.is_empty()) {
        is_empty = false;
        match rules::of_code(code) {
            Ok(rule) => found.push(rule.code),
            Err(error) => {
                unknown.push(UNKNOWN_CODE.at(place.clone(), error.to_string(), ""));
                break;
            }
        }
    }
    if is_empty {
        let message = format!("expected the codes of findings behind {ALLOW}, found none");
        unknown.push(UNKNOWN_CODE.at(place.clone(), message, ""));
    }
    found
}
