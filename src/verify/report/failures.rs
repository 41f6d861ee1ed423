//! What failed, put together as a reader wants it: the cause first, as `explain` tells it, then what
//! differs because of it, each once however many sessions met it, and what only follows from it as a
//! number.

use crate::access_log::explain::{Explanation, Health};
use crate::verify::judge::{CaseVerdict, Check, Subject};

/// The fields that show what became of a session. All others follow from a session that did not
/// begin, where they say nothing or count what was not sent.
const DECISIVE: [&str; 5] = [
    "protocol",
    "response_code",
    "response_code_details",
    "response_flags",
    "upstream_transport_failure_reason",
];

/// What is counted of a session.
const COUNTS: [&str; 3] = ["bytes_received", "bytes_sent", "duration"];

/// How a field that says nothing is found.
const NOTHING: [&str; 3] = ["null", "absent", "none"];

/// How many fields of one failure are named where not everything is asked for.
const MAX_NAMED: usize = 12;

/// What failed for one reason.
pub(super) struct Failure<'a> {
    /// The reason, if the lines show one.
    pub(super) cause: Option<&'a Explanation>,
    /// What the first line means, if that is no reason.
    no_cause: Option<&'a Explanation>,
    /// What differs, at least one.
    pub(super) checks: Vec<&'a Check>,
    /// What differs because nothing came of the session.
    following: Vec<&'a Check>,
    /// The lines that show it.
    lines: Vec<&'a str>,
    /// How many sessions met it, and the request id of the first that has one.
    times: usize,
    request_id: Option<&'a str>,
}

/// The failures of a case, the worst first.
pub(super) fn failures(case: &CaseVerdict) -> Vec<Failure<'_>> {
    let mut failures: Vec<(Option<&Explanation>, Vec<&Check>)> = Vec::new();
    let mut without_line = Vec::new();
    let essence = |reason: Option<&Explanation>| reason.map(|it| (it.ended.clone(), it.change.clone()));
    for check in case.failed() {
        let reason = check.explanation.as_ref().filter(|explanation| explanation.health != Health::Normal);
        let mut same = failures.iter_mut().filter(|(other, _)| essence(*other) == essence(reason));
        if check.line.is_none() {
            without_line.push(check);
        } else if let Some((_, checks)) = same.next() {
            checks.push(check);
        } else {
            failures.push((reason, vec![check]));
        }
    }
    for (reason, checks) in &mut failures {
        // Where a session fails as it should, what else differs has another reason.
        if !checks.iter().any(|check| DECISIVE.contains(&&*check.field) || says_nothing(check)) {
            *reason = None;
        }
    }
    failures.sort_by_key(|(reason, _)| std::cmp::Reverse(reason.map(|reason| reason.health)));
    if !without_line.is_empty() {
        // How sessions ended and how many lines there are is about all of them. What is found in
        // documents is no session's.
        match failures.first_mut().filter(|(reason, _)| reason.is_some()) {
            Some((_, checks)) => drop(checks.splice(0..0, without_line)),
            None => failures.insert(0, (None, without_line)),
        }
    }
    failures.into_iter().map(|(reason, checks)| Failure::new(reason, &checks)).collect()
}

impl<'a> Failure<'a> {
    fn new(cause: Option<&'a Explanation>, all: &[&'a Check]) -> Self {
        let mut failure = Self {
            cause,
            no_cause: all.iter().find_map(|check| check.explanation.as_ref()).filter(|_| cause.is_none()),
            checks: Vec::new(),
            following: Vec::new(),
            lines: Vec::new(),
            times: 1,
            request_id: all.iter().find_map(|check| check.request_id.as_deref()),
        };
        let mut seen: Vec<(Essence<'_>, usize)> = Vec::new();
        for check in all {
            let line = check.line.as_deref();
            failure.lines.extend(line.filter(|line| !failure.lines.contains(line)));
            if let Some((_, times)) = seen.iter_mut().find(|(other, _)| *other == essence(check)) {
                *times += 1;
                failure.times = failure.times.max(*times);
                continue;
            }
            seen.push((essence(check), 1));
            let kind = if follows(cause, check) { &mut failure.following } else { &mut failure.checks };
            kind.push(check);
        }
        if failure.checks.is_empty() {
            failure.checks = std::mem::take(&mut failure.following);
        }
        failure
    }

    /// Why it failed, in a line: the cause, or where no line shows one the first that differs.
    pub(super) fn headline(&self) -> String {
        match (self.cause, self.checks.first()) {
            (Some(cause), _) => cause.ended.to_string(),
            (None, Some(first)) => said(first),
            (None, None) => String::new(),
        }
    }

    /// What to change, in a line.
    pub(super) fn change(&self) -> Option<String> {
        Some(format!("what to do: {}", self.cause?.change.as_ref()?))
    }

    /// What differs, a line each, and how much more there is; with `everything` all of it, and the
    /// access-log lines.
    pub(super) fn details(&self, everything: bool) -> Vec<String> {
        // The first stands above already.
        let told = usize::from(self.cause.is_none());
        let named = if everything { usize::MAX } else { MAX_NAMED };
        let checks = self.checks.iter().skip(told);
        let mut details: Vec<String> = checks.clone().take(named).map(|check| said(check)).collect();
        let more = checks.len().saturating_sub(named);
        if everything {
            details.extend(self.following.iter().map(|check| said(check)));
            details.extend(self.lines.iter().map(|&line| line.to_owned()));
            details.extend(self.no_cause.map(Explanation::to_string));
        }
        let following = if everything { 0 } else { self.following.len() };
        let mut counted = Vec::new();
        counted.extend((more > 0).then(|| format!("and {more} more that differ")));
        counted.extend((following > 0).then(|| format!("and {following} that follow from it")));
        let first = self.request_id.filter(|_| !everything);
        counted.extend(match (self.times, first) {
            (1, first) => first.map(|id| format!("request id {id}")),
            (times, None) => Some(format!("in {times} sessions")),
            (times, Some(id)) => Some(format!("in {times} sessions, the first with request id {id}")),
        });
        let what = counted.join(", ");
        let shown = !everything && (following > 0 || more > 0 || !self.lines.is_empty());
        match (what.is_empty(), shown) {
            (true, true) => details.push("-v shows the access-log lines".to_owned()),
            (false, true) => details.push(format!("{what} (-v shows all, and the access-log lines)")),
            (false, false) => details.push(what),
            (true, false) => {}
        }
        details
    }

    /// All of it, a line each: why, what to do, what differs.
    pub(super) fn all(&self, everything: bool) -> Vec<String> {
        let head = std::iter::once(self.headline()).chain(self.change());
        head.chain(self.details(everything)).collect()
    }
}

/// Whether a check fails only because nothing came of its session.
fn follows(cause: Option<&Explanation>, check: &Check) -> bool {
    cause.is_some()
        && matches!(check.subject, Subject::Log(_))
        && !DECISIVE.contains(&&*check.field)
        && (says_nothing(check) || COUNTS.contains(&&*check.field))
}

fn says_nothing(check: &Check) -> bool {
    NOTHING.contains(&check.actual.as_str())
}

/// What two checks have in common that differ in their lines only.
type Essence<'a> = (Subject, &'a str, &'a str, &'a str);

fn essence(check: &Check) -> Essence<'_> {
    (check.subject, &check.field, &check.expected, &check.actual)
}

/// A failed check in a line: side, field, expected, actual.
fn said(check: &Check) -> String {
    format!("{}: {}: expected {}, was {}", check.subject, check.field, check.expected, check.actual)
}
