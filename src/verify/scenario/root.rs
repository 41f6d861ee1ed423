//! Where the files are that a scenario may read: in its own folder, and in one that the command
//! line names. Whoever writes a scenario may be a stranger, as in a pull request, and the machine
//! that plays it has files of its own.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Folders, with all links followed.
#[derive(Debug)]
pub(super) struct Roots(Vec<PathBuf>);

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is in none of the folders.
    Outside,
    /// Neither a file nor a folder: who reads a pipe waits for whoever writes it.
    Special,
    /// What the system says.
    Unreadable(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Roots {
    /// These folders, which exist.
    pub(super) fn new<'a>(folders: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        folders.into_iter().map(fs::canonicalize).collect::<io::Result<_>>().map(Self)
    }

    /// Whether a file is in one of them, wherever links lead, and of a folder also what links in it
    /// lead to.
    pub(super) fn admit(&self, path: &Path) -> Result<(), Refused> {
        self.admit_one(path)?;
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                let entry = entry?.path();
                // A link that leads nowhere is not read.
                if entry.exists() {
                    self.admit_one(&entry)?;
                }
            }
        }
        Ok(())
    }

    fn admit_one(&self, path: &Path) -> Result<(), Refused> {
        match fs::canonicalize(path) {
            Ok(real) if self.0.iter().any(|root| real.starts_with(root)) => {
                let kind = fs::metadata(&real)?;
                if kind.is_file() || kind.is_dir() { Ok(()) } else { Err(Refused::Special) }
            }
            Ok(_) => Err(Refused::Outside),
            // Whether there is such a file elsewhere is nobody's business either.
            Err(_) if path.components().any(|part| part == Component::ParentDir) => Err(Refused::Outside),
            Err(error) => Err(Refused::Unreadable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_file_is_admitted_where_links_and_parents_lead_inside_alone() {
        let [inside, outside] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
        for folder in [&inside, &outside] {
            fs::create_dir(folder.path().join("folder")).expect("made");
            fs::write(folder.path().join("folder/file.yaml"), "").expect("written");
        }
        let here = |name: &str| inside.path().join(name);
        symlink("folder/file.yaml", here("in.yaml")).expect("linked");
        symlink(outside.path().join("folder/file.yaml"), here("out.yaml")).expect("linked");
        symlink(outside.path(), here("out")).expect("linked");
        symlink("nowhere", here("nowhere.yaml")).expect("linked");
        fs::create_dir(here("links")).expect("made");
        symlink(here("out.yaml"), here("links/out.yaml")).expect("linked");
        fs::create_dir(here("pipes")).expect("made");
        for pipe in ["pipe", "pipes/pipe.yaml"] {
            mkfifo(&here(pipe), Mode::S_IRWXU).expect("made");
        }
        let roots = Roots::new([inside.path()]).expect("it exists");
        let admitted = |name: &str| match roots.admit(&here(name)) {
            Ok(()) => "inside",
            Err(Refused::Outside) => "outside",
            Err(Refused::Special) => "special",
            Err(Refused::Unreadable(_)) => "unreadable",
        };
        let up = format!("../{}", outside.path().file_name().expect("a name").display());
        for (name, wanted) in [
            ("folder/file.yaml", "inside"),
            ("folder", "inside"),
            ("in.yaml", "inside"),
            ("folder/../in.yaml", "inside"),
            ("missing.yaml", "unreadable"),
            ("nowhere.yaml", "unreadable"),
            ("out.yaml", "outside"),
            ("out/folder/file.yaml", "outside"),
            ("links", "outside"),
            ("pipe", "special"),
            ("pipes", "special"),
            ("/dev/null", "outside"),
            (&*format!("{up}/folder/file.yaml"), "outside"),
            (&*format!("{up}/missing.yaml"), "outside"),
        ] {
            assert_eq!(admitted(name), wanted, "{name}");
        }
        let both = Roots::new([inside.path(), outside.path()]).expect("they exist");
        assert!(both.admit(&here("links")).is_ok());
    }
}
