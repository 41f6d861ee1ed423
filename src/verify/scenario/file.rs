//! Reading a scenario from a file: what is wrong with one is said with line and column, and with
//! the name that was meant.

use std::io;
use std::path::{Path, PathBuf};

use super::root::{Refused, Roots};
use super::{Application, Scenario, Step};
use crate::nearest::nearest;
use crate::yaml::{self, Placed, Problem, Text};

/// How similar a name must be to be what was meant.
pub(in crate::verify) const SIMILAR: f64 = 0.75;

/// A scenario that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file, or one that it names, cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file, as the scenario names it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not where a scenario's files are, or one that it names is not.
    #[error("{}: a scenario reads what is in its folder, and {} is not", path.display(), file.display())]
    Outside {
        /// The scenario's file.
        path: PathBuf,
        /// The file that is elsewhere.
        file: PathBuf,
    },
    /// The file is no scenario.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: u64,
        /// Where in the line, from 1.
        column: u64,
        /// What is wrong at that place.
        problem: String,
        /// What might be right.
        hint: Option<String>,
    },
    /// Everything in the file is well formed, and yet it cannot be played.
    #[error("{}: {problem}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why it cannot be played.
        problem: String,
    },
}

/// Reads a scenario. The files that it names are in its folder, or in `root`.
///
/// # Errors
/// [`ScenarioError`].
pub fn load(path: &Path, root: Option<&Path>) -> Result<Scenario, ScenarioError> {
    let unreadable = |path: &Path, source| ScenarioError::Read { path: path.to_owned(), source };
    let beside = path.parent().unwrap_or(Path::new(""));
    let folder = if beside.as_os_str().is_empty() { Path::new(".") } else { beside };
    std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    let roots = [Some(folder), root].into_iter().flatten();
    let roots = Roots::new(roots).map_err(|source| unreadable(root.unwrap_or(folder), source))?;
    let admit = |file: &Path| {
        roots.admit(file).map_err(|refused| match refused {
            Refused::Outside => ScenarioError::Outside { path: path.to_owned(), file: file.to_owned() },
            Refused::Special => unreadable(file, io::Error::other("it is neither a file nor a folder")),
            Refused::Unreadable(source) => unreadable(file, source),
        })
    };
    // What a shell hands over there is not the scenario's to choose.
    if !path.starts_with("/dev") {
        admit(path)?;
    }
    let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    let text = Text::new(&path.display().to_string(), text);
    let mut scenario: Scenario = yaml::from_text(&text).map_err(|error| malformed(path, &error))?;
    scenario.file = Some(path.to_owned());
    check(&scenario).map_err(|problem| ScenarioError::Unfit { path: path.to_owned(), problem })?;
    for file in scenario.files() {
        *file = beside.join(&*file);
        admit(file)?;
    }
    Ok(scenario)
}

fn malformed(path: &Path, error: &yaml::Error) -> ScenarioError {
    let (problem, hint) = match error.problem() {
        Problem::UnknownName { name, known } => {
            (format!("nothing is named {name:?} here"), Some(suggestion(name, known)))
        }
        Problem::Bare { name } => {
            (format!("{name} needs a value"), Some("as in `connect: {}` or `close: 1000`".to_owned()))
        }
        Problem::Missing => {
            let field = error.path().rsplit('.').next().unwrap_or_default();
            (format!("{field} is missing"), None)
        }
        problem => (problem.to_string(), None),
    };
    let (line, column) = error.place().map_or((0, 0), |place| (place.line, place.column));
    ScenarioError::Malformed { path: path.to_owned(), line, column, problem, hint }
}

fn suggestion(name: &str, expected: &[&str]) -> String {
    match nearest(name, expected.iter().copied(), SIMILAR) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("there are {}", expected.join(", ")),
    }
}

/// What serde cannot see.
fn check(scenario: &Scenario) -> Result<(), String> {
    let named = |name: &str| {
        let fits = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(fits)
    };
    let variants = scenario.variants.iter().map(|variant| &variant.name);
    if let Some(name) = std::iter::once(&scenario.name).chain(variants).find(|name| !named(name)) {
        return Err(format!("{name:?} is no name: letters, digits, `-`, `_` and `.` make one"));
    }
    if scenario.sessions.iter().all(|sessions| sessions.count == 0 || sessions.steps.is_empty()) {
        return Err("there is no session with a step".to_owned());
    }
    let releases = scenario.sessions.iter().any(|sessions| sessions.steps.iter().any(releases));
    if releases && scenario.application != Application::HeldEcho {
        return Err("there is nothing to release: say `application: held-echo`".to_owned());
    }
    Ok(())
}

fn releases(step: &Placed<Step>) -> bool {
    match &step.value {
        Step::Release => true,
        Step::Repeat { steps, .. } => steps.iter().any(releases),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a scenario with these lines as its `sessions` in `it.yaml`, beside `there.bin`; the
    /// error without the folder, and the hint.
    fn read(sessions: &str) -> Result<Scenario, (String, Option<String>)> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("there.bin"), "bytes").expect("a file");
        let path = folder.path().join("it.yaml");
        let text = format!("name: it\ndescription: a test\nexpect: {{}}\nsessions:\n  - steps:\n{sessions}");
        std::fs::write(&path, text).expect("a file");
        load(&path, None).map_err(|error| {
            let hint = match &error {
                ScenarioError::Malformed { hint, .. } => hint.clone(),
                _ => None,
            };
            (error.to_string().replace(&format!("{}/", folder.path().display()), ""), hint)
        })
    }

    #[test]
    fn a_mistake_is_named_with_line_and_column_and_with_what_was_meant() {
        for (sessions, error, hint) in [
            (
                "      - conect: {}\n",
                "it.yaml:6:9: nothing is named \"conect\" here",
                Some("did you mean connect?"),
            ),
            (
                "      - connect:\n          pth: /\n",
                "it.yaml:7:11: nothing is named \"pth\" here",
                Some("did you mean path?"),
            ),
            (
                "      - close: {kode: 1000}\n",
                "it.yaml:6:17: nothing is named \"kode\" here",
                Some("did you mean code?"),
            ),
            (
                "      - connect\n      - send: a\n",
                "it.yaml:6:9: connect needs a value",
                Some("as in `connect: {}` or `close: 1000`"),
            ),
        ] {
            assert_eq!(read(sessions).expect_err(sessions), (error.to_owned(), hint.map(str::to_owned)));
        }
        for (sessions, place, part) in [
            ("      - close: 1005\n", "it.yaml:6:", "1005 is not a code that can be sent"),
            ("      - wait: soon\n", "it.yaml:6:", "no length of time"),
            ("      - receive: {text: a, matches: b}\n", "it.yaml:6:", "is named by one of"),
            ("      - receive: {matches: '('}\n", "it.yaml:6:", "regex"),
            ("      - send: {binary: '?'}\n", "it.yaml:6:", "no base64"),
            ("      - send: 5\n", "it.yaml:6:", "expected a string"),
            ("      - connect: {headers: {a b: c}}\n", "it.yaml:6:", "no name of a field"),
            ("      - release\n", "it.yaml: ", "nothing to release"),
            ("      - send: {file: nowhere.bin}\n", "read nowhere.bin: ", "No such file"),
            ("      - send: {file: ../it.bin}\n", "it.yaml: ", "../it.bin is not"),
            (
                "      - send: {text_file: /etc/passwd}\n",
                "it.yaml: ",
                "in its folder, and /etc/passwd is not",
            ),
            ("      - receive: {file: /dev/null}\n", "it.yaml: ", "in its folder, and /dev/null is not"),
            (
                "      - repeat: {times: 1, steps: [{receive: {text_file: ../../etc/passwd}}]}\n",
                "it.yaml: ",
                "../../etc/passwd is not",
            ),
        ] {
            let (error, _) = read(sessions).expect_err(sessions);
            assert!(error.starts_with(place) && error.contains(part), "{sessions}{error}");
        }
    }

    #[test]
    fn a_file_is_looked_for_beside_the_scenario_and_each_step_knows_its_line() {
        let scenario =
            read("      - connect: {}\n      - repeat: {times: 2, steps: [{send: {file: there.bin}}]}\n");
        let mut scenario = scenario.expect("a scenario");
        let lines: Vec<_> = scenario.sessions[0].steps.iter().map(Placed::line).collect();
        assert_eq!(lines, [Some(6), Some(7)]);
        let files = scenario.files();
        assert_eq!(files.len(), 1);
        assert!(files[0].is_absolute() && files[0].ends_with("there.bin"), "{files:?}");
    }
}
