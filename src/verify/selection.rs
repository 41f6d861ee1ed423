//! Which scenarios are meant: built-in ones by name, others by file.

use std::path::Path;

use super::VerifyError;
use super::scenario::{Scenario, built_in, load, nearest};

/// The scenarios that are asked for, each once: the built-in ones in the order of their list, then those in files. All
/// built-in ones if none is asked for.
///
/// A name is a built-in scenario's before it is a file's. Those in files read what is in their folders, and in `root`.
///
/// # Errors
/// There is no such scenario and no such file, or the file is none.
pub fn select(asked: &[String], root: Option<&Path>) -> Result<Vec<Scenario>, VerifyError> {
    let is_built_in = |name: &String| built_in().iter().any(|scenario| scenario.name == *name);
    let wanted = |scenario: &&Scenario| asked.is_empty() || asked.contains(&scenario.name);
    let mut scenarios: Vec<Scenario> = built_in().iter().filter(wanted).cloned().collect();
    for file in asked.iter().filter(|name| !is_built_in(name)) {
        let path = Path::new(file);
        if scenarios.iter().any(|scenario| scenario.file.as_deref() == Some(path)) {
            continue;
        }
        if !looks_like_a_path(file) && !path.exists() {
            let names = built_in().iter().map(|scenario| scenario.name.as_str());
            return Err(VerifyError::UnknownScenario { name: file.clone(), nearest: nearest(file, names) });
        }
        let scenario = load(path, root)?;
        if scenarios.iter().any(|other| other.name == scenario.name) {
            return Err(VerifyError::SameName { name: scenario.name });
        }
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

/// Whether a missing file is what is wrong with it, rather than a missing name.
fn looks_like_a_path(text: &str) -> bool {
    let has_extension = |extension: &str| Path::new(text).extension().is_some_and(|it| it == extension);
    text.contains('/') || has_extension("yaml") || has_extension("yml")
}
