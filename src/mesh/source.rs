//! Where documents come from: files, folders, standard input, and the copies built into the
//! program.

use std::fs::{self, DirEntry, File, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::document::Documents;
use super::error::MeshError;
use crate::yaml::Text;

/// What `-f` names, by which documents are given to every program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, or a folder: of that the `.yaml`, `.yml` and `.json` files directly in it, as
    /// kubectl reads it.
    Path(PathBuf),
    /// Standard input, which is named `-`.
    StandardInput,
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::StandardInput } else { Self::Path(path) }
    }
}

impl Source {
    /// Reads the texts of the sources, of folders in the order of their names.
    pub fn read_all(sources: &[Self]) -> Result<Vec<Arc<Text>>, MeshError> {
        let mut texts = Vec::new();
        for source in sources {
            match source {
                Self::StandardInput => {
                    let text =
                        text_of(io::stdin(), 0).map_err(|source| unreadable(Path::new("-"), source))?;
                    texts.push(Text::new("-", text));
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
    /// The guide's own documents, for when none are named: HTTP/2 between the sidecars, with the
    /// `EnvoyFilter`.
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
    pub fn of(texts: &[Arc<Text>]) -> Result<Self, MeshError> {
        let mut documents = Self::default();
        for text in texts {
            documents.read(text, &mut Err)?;
        }
        documents.held(texts)
    }

    /// These documents, which were read of the texts.
    ///
    /// # Errors
    /// There are none: who names a file means what is in it.
    pub(super) fn held(self, texts: &[Arc<Text>]) -> Result<Self, MeshError> {
        if !self.manifests().is_empty() || !self.declared_meshes().is_empty() {
            return Ok(self);
        }
        let names: Vec<&str> = texts.iter().map(|text| &*text.name).collect();
        Err(MeshError::NoDocument { sources: names.join(", ") })
    }
}

/// The longest file that is read: tens of thousands of documents as a cluster exports them.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// All that a file says, if it is not too much.
pub(super) fn text_of_file(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    // One byte more, so that the end is found without room for another part.
    let length = file.metadata()?.len().min(MAX_BYTES) + 1;
    text_of(file, usize::try_from(length).unwrap_or_default())
}

/// All that is to be read, if it is not too much; it is about so many bytes.
fn text_of(input: impl Read, length: usize) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(length);
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let problem = "it is longer than 256 MiB, the most that is read of one file: split it";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let problem = error.utf8_error();
        let starts = |mark: &[u8]| error.as_bytes().starts_with(mark);
        let problem = if starts(b"\xff\xfe") || starts(b"\xfe\xff") {
            "it is UTF-16, as PowerShell's > writes it: make UTF-8 of it (iconv -f UTF-16 -t UTF-8, or in \
             PowerShell: … | Out-File -Encoding utf8 FILE)"
                .to_owned()
        } else {
            problem.to_string()
        };
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

/// A file that is just being written is empty for a moment (it is truncated first): worth another
/// look.
const MOMENT: Duration = Duration::from_millis(50);

fn read(path: &Path) -> Result<Arc<Text>, MeshError> {
    let text = || text_of_file(path).map_err(|source| unreadable(path, source));
    let text = match text()? {
        empty if empty.is_empty() => {
            std::thread::sleep(MOMENT);
            text()?
        }
        text => text,
    };
    Ok(Text::new(&path.display().to_string(), text))
}

/// What a project says of the findings in its documents, which is none of them.
pub const CONFIGURATION_FILE: &str = ".websockets-cli.yaml";

/// The documents' files directly in a folder, by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, MeshError> {
    let is_document = |entry: &DirEntry| {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_named_so = extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
            && entry.file_name() != CONFIGURATION_FILE;
        // Where a link leads is asked of links alone.
        let is_file = |kind: FileType| kind.is_file() || (kind.is_symlink() && path.is_file());
        is_named_so && entry.file_type().is_ok_and(is_file)
    };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| unreadable(folder, source))?;
    let mut files: Vec<PathBuf> =
        entries.iter().filter(|entry| is_document(entry)).map(DirEntry::path).collect();
    if files.is_empty() {
        return Err(MeshError::EmptyFolder { path: folder.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, source: io::Error) -> MeshError {
    MeshError::Read { path: path.to_owned(), source }
}
