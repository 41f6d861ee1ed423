//! How long the sessions to each cluster lasted. Of those that were still open after some time, most
//! do not end at just that time unless somebody's timeout ends them: what a line alone cannot show.

use std::collections::BTreeMap;
use std::mem;

use crate::access_log::ParsedLine;
use crate::access_log::explain::{
    Ending, Explanation, Health, Origin, Proxy, TIMEOUT_STEP, is_usual, timeout_met, timer_advice,
};

/// What lasted longer than a day, in seconds, is counted as having lasted so long.
const MOST: u64 = 86_400;

/// How many sessions have to end at a time that many programs have as a timeout, or at another.
const FEW: usize = 2;
const SOME: usize = 3;

/// The sessions to each cluster, or of each route where a line does not name the cluster.
#[derive(Debug, Default)]
pub(super) struct Lengths(BTreeMap<String, ByLength>);

/// Sessions by how many steps of [`TIMEOUT_STEP`] they lasted.
#[derive(Debug)]
struct ByLength {
    sidecar: Proxy,
    steps: BTreeMap<u64, Step>,
}

#[derive(Debug, Default)]
struct Step {
    /// All that ended before the next step.
    all: usize,
    /// Those of them that ended as a timeout fires, by who ended them.
    downstream: usize,
    upstream: usize,
    /// The request id of the first of them.
    first: Option<String>,
}

/// Sessions to one cluster that seem to have met a timeout.
pub(super) struct Timed {
    pub(super) times: usize,
    pub(super) explanation: Explanation,
    pub(super) request_id: Option<String>,
}

impl Lengths {
    /// Counts the session of a line, if it is of one.
    pub(super) fn add(&mut self, line: &ParsedLine, ending: &Ending) {
        let Some(ms) = ending.lasted else { return };
        let to = line.text_of("upstream_cluster").or_else(|| line.text_of("route_name")).unwrap_or_default();
        // Of most clusters some were counted before.
        if !self.0.contains_key(to) {
            let sidecar = ending.testimony.sidecar;
            self.0.insert(to.to_owned(), ByLength { sidecar, steps: BTreeMap::new() });
        }
        let Some(known) = self.0.get_mut(to) else { return };
        let met = timeout_met(ms).filter(|seconds| *seconds <= MOST);
        let lasted = met.unwrap_or(ms / 1000).min(MOST) / TIMEOUT_STEP;
        let step = known.steps.entry(lasted).or_default();
        step.all += 1;
        if met.is_some() {
            *step.ended(ending.origin) += 1;
            if step.first.is_none() {
                step.first = line.text_of("request_id").map(str::to_owned);
            }
        }
    }

    /// Adds those of other lines, which come after these.
    pub(super) fn merge(&mut self, other: &mut Self) {
        for (to, by_length) in mem::take(&mut other.0) {
            let known = self.0.entry(to);
            let known =
                known.or_insert_with(|| ByLength { sidecar: by_length.sidecar, steps: BTreeMap::new() });
            for (lasted, step) in by_length.steps {
                let sum = known.steps.entry(lasted).or_default();
                sum.all += step.all;
                sum.downstream += step.downstream;
                sum.upstream += step.upstream;
                sum.first = sum.first.take().or(step.first);
            }
        }
    }

    /// The times at which most of the sessions ended that had lasted so long.
    pub(super) fn timed(&self) -> Vec<Timed> {
        let mut all = Vec::new();
        for (to, ByLength { sidecar, steps }) in &self.0 {
            let mut open = 0;
            for (lasted, step) in steps.iter().rev() {
                open += step.all;
                let seconds = lasted * TIMEOUT_STEP;
                let met = step.downstream + step.upstream;
                if met >= if is_usual(seconds) { FEW } else { SOME } && met * 2 >= open {
                    all.push(step.timed(seconds, open, to, *sidecar));
                }
            }
        }
        all
    }
}

impl Step {
    fn ended(&mut self, by: Origin) -> &mut usize {
        match by {
            Origin::Downstream => &mut self.downstream,
            Origin::Here | Origin::Upstream => &mut self.upstream,
        }
    }

    fn timed(&self, seconds: u64, open: usize, to: &str, sidecar: Proxy) -> Timed {
        let times = self.downstream + self.upstream;
        let to = if to.is_empty() { String::new() } else { format!(" to {to}") };
        let whose = if self.downstream >= self.upstream { Origin::Downstream } else { Origin::Upstream };
        let side = if whose == Origin::Downstream { "client's" } else { "server's" };
        Timed {
            times,
            explanation: Explanation {
                sidecar,
                asked: format!("{open} sessions{to} that lasted {seconds} s or longer"),
                ended: format!(
                    "{times} of the {open} sessions{to} that lasted {seconds} s or longer ended at {seconds} s nearly to the \
                     millisecond, by the {side} side: that is somebody's timeout"
                )
                .into(),
                origin: whose,
                health: Health::Look,
                change: Some(timer_advice(whose).into()),
            },
            request_id: self.first.clone(),
        }
    }
}
