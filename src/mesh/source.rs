//! Where documents come from: files, folders, standard input, and the copies built into the program.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Documents;
use super::place::MeshError;

/// What `-f` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, or a folder: of that the `.yaml`, `.yml` and `.json` files directly in it, as kubectl reads it.
    Path(PathBuf),
    /// `-`.
    StandardInput,
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::StandardInput } else { Self::Path(path) }
    }
}

/// The text of a source, and what messages call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The file as it was named, or `-`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// Reads the texts of the sources, of folders in the order of their names.
    pub fn read_all(sources: &[Self]) -> Result<Vec<Text>, MeshError> {
        let mut texts = Vec::new();
        for source in sources {
            match source {
                Self::StandardInput => {
                    let mut text = String::new();
                    io::stdin()
                        .read_to_string(&mut text)
                        .map_err(|source| unreadable(Path::new("-"), source))?;
                    texts.push(Text { name: "-".to_owned(), text });
                }
                Self::Path(path) if path.is_dir() => {
                    for file in files_of(path)? {
                        texts.push(read(&file)?);
                    }
                }
                Self::Path(path) => texts.push(read(path)?),
            }
        }
        Ok(texts)
    }
}

/// The guide's end state, as in the project's `manifests/`.
const BUILT_IN: [(&str, &str); 4] = [
    ("manifests/websockets-server.yaml", include_str!("../../manifests/websockets-server.yaml")),
    ("manifests/websockets-client.yaml", include_str!("../../manifests/websockets-client.yaml")),
    ("manifests/destination-rule.yaml", include_str!("../../manifests/destination-rule.yaml")),
    ("manifests/envoy-filter.yaml", include_str!("../../manifests/envoy-filter.yaml")),
];

impl Documents {
    /// The guide's own documents, for when none are named: HTTP/2 between the sidecars, with the `EnvoyFilter`.
    ///
    /// # Panics
    /// Never: a test reads them.
    #[must_use]
    pub fn builtin() -> Self {
        let mut documents = Self::default();
        for (name, text) in BUILT_IN {
            let file = Self::parse(name, text).expect("the built-in documents are valid");
            documents.merge(file).expect("the built-in documents are distinct");
        }
        documents
    }

    /// Reads all documents of the sources.
    pub fn load(sources: &[Source]) -> Result<Self, MeshError> {
        Self::of(&Source::read_all(sources)?)
    }

    /// All documents of the texts.
    pub fn of(texts: &[Text]) -> Result<Self, MeshError> {
        let mut documents = Self::default();
        for Text { name, text } in texts {
            documents.merge(Self::parse(name, text)?)?;
        }
        Ok(documents)
    }
}

/// A file that is just being written is empty for a moment (it is truncated first): worth another look.
const MOMENT: Duration = Duration::from_millis(50);

fn read(path: &Path) -> Result<Text, MeshError> {
    let text = || fs::read_to_string(path).map_err(|source| unreadable(path, source));
    let text = match text()? {
        empty if empty.is_empty() => {
            std::thread::sleep(MOMENT);
            text()?
        }
        text => text,
    };
    Ok(Text { name: path.display().to_string(), text })
}

/// The documents' files directly in a folder, by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, MeshError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut files: Vec<PathBuf> = entries
        .map_err(|source| unreadable(folder, source))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension)) && path.is_file()
        })
        .collect();
    if files.is_empty() {
        return Err(MeshError::EmptyFolder { path: folder.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, source: io::Error) -> MeshError {
    MeshError::Read { path: path.to_owned(), source }
}
