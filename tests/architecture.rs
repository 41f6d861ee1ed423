//! That the sources are as ARCHITECTURE.md says: which folder of `src` imports which, and which
//! crate is used where, read from its own words; and that a type's name means one thing within a
//! folder of `src`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src`, without its comments and its tests.
struct Source {
    /// From `src` on, as `cli/verify/mod.rs`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module that it is, as `cli::verify`.
    fn module(&self) -> String {
        let path = self.path.with_extension("");
        let path = if path.ends_with("mod") { path.parent().expect("its folder") } else { &path };
        path.iter().map(|name| name.to_str().expect("text")).collect::<Vec<_>>().join("::")
    }

    /// The folder of `src`, or the file there, that it belongs to.
    fn folder(&self) -> String {
        self.module().split("::").next().expect("a name").to_owned()
    }

    /// The first names of the paths that begin with `crate`.
    fn imports(&self) -> BTreeSet<&str> {
        self.text.split("crate::").skip(1).map(first_word).filter(|name| !name.is_empty()).collect()
    }

    /// Whether a path begins with the name of this crate.
    fn uses(&self, krate: &str) -> bool {
        let name = krate.replace('-', "_");
        let begins = |at: usize| {
            let before = self.text[..at].chars().next_back();
            before.is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '_' | ':'))
        };
        let is_path = |at: usize| {
            let after = &self.text[at + name.len()..];
            after.starts_with("::") || self.text[..at].ends_with("use ") && after.starts_with(';')
        };
        self.text.match_indices(&name).any(|(at, _)| begins(at) && is_path(at))
    }

    /// The names of the types and traits that it defines.
    fn types(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| {
            // The type of a trait is indented, and has its trait's name before it.
            let is_associated = line.starts_with(' ') && line.trim_start().starts_with("type ");
            let line = line.trim_start();
            let line = match line.strip_prefix("pub") {
                Some(public) => public.trim_start_matches(|char| char != ' ').trim_start(),
                None => line,
            };
            let kinds = ["struct ", "enum ", "union ", "trait ", "type "];
            let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
            (!is_associated).then(|| first_word(name))
        })
    }
}

fn first_word(text: &str) -> &str {
    let is_end = |char: char| !char.is_alphanumeric() && char != '_';
    &text[..text.find(is_end).unwrap_or(text.len())]
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
                let text = code.collect::<Vec<_>>().join("\n");
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                let path = path.strip_prefix(&src).expect("within it").to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    // The library's head names all of its modules; tests import what they try.
    let is_looked_at = |path: &Path| {
        path != Path::new("lib.rs") && !path.iter().any(|name| name == "tests" || name == "tests.rs")
    };
    sources.retain(|source| is_looked_at(&source.path));
    sources
}

/// The lines of ARCHITECTURE.md that follow this one, up to the next title.
fn section(title: &str) -> String {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let (_, section) = text.split_once(&format!("\n## {title}\n")).expect("it has this title");
    section.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The height of each folder of `src` in the drawing of the layers.
fn layers() -> BTreeMap<String, u32> {
    let section = section("Layers");
    let drawing = section.split("```").nth(1).expect("a drawing");
    let layer = |line: &str| -> Option<Vec<(String, u32)>> {
        let line = line.split('(').next()?;
        let (height, names) = line.trim_start().split_once(' ')?;
        let height = height.parse().ok()?;
        Some(names.split_whitespace().map(|name| (name.to_owned(), height)).collect())
    };
    drawing.lines().filter_map(layer).flatten().collect()
}

/// The crates of each row of the table, with the modules that are their home; none where that is
/// all.
fn homes() -> Vec<(Vec<String>, Vec<String>)> {
    let section = section("Layers");
    // Behind the title of the table and the line below it.
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    let row = |row: &str| {
        let mut cells = row.split('|').skip(1);
        let (crates, homes) = (cells.next().expect("crates"), cells.next().expect("homes"));
        let crates = crates.split(", ").map(|name| name.trim().to_owned()).collect();
        let homes = homes.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (crates, homes)
    };
    rows.map(row).collect()
}

#[test]
fn a_module_imports_from_lower_layers_and_from_its_own_folder() {
    let layers = layers();
    let height = |folder: &str| {
        *layers.get(folder).unwrap_or_else(|| panic!("the drawing of the layers has no {folder}"))
    };
    let mut upward = Vec::new();
    for source in sources() {
        let folder = source.folder();
        let imports = source.imports().into_iter().filter(|name| *name != folder);
        let wrong = imports.filter(|name| height(name) >= height(&folder));
        upward.extend(wrong.map(|name| format!("{} imports {name}", source.path.display())));
    }
    assert_eq!(upward, [""; 0]);
}

#[test]
fn lint_is_above_all_else_in_mesh() {
    let below = sources().into_iter().filter(|source| source.folder() == "mesh");
    let below =
        below.filter(|source| !matches!(&*source.module(), "mesh") && !source.path.starts_with("mesh/lint"));
    let upward =
        below.filter(|source| ["mesh::lint", "super::lint"].iter().any(|path| source.text.contains(path)));
    assert_eq!(upward.map(|source| source.module()).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_crate_is_used_where_the_table_of_crates_says_and_nowhere_else() {
    let sources = sources();
    let is_within = |module: &str, home: &str| {
        module.strip_prefix(home).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let mut wrong = Vec::new();
    for (crates, homes) in homes().into_iter().filter(|(_, homes)| !homes.is_empty()) {
        let users: Vec<_> = sources
            .iter()
            .filter(|source| crates.iter().any(|krate| source.uses(krate)))
            .map(Source::module)
            .collect();
        let crates = crates.join(", ");
        let empty = homes.iter().filter(|home| !users.iter().any(|user| is_within(user, home)));
        wrong.extend(empty.map(|home| format!("{home} does not use {crates}")));
        let strangers = users.iter().filter(|user| !homes.iter().any(|home| is_within(user, home)));
        wrong.extend(strangers.map(|user| format!("{user} uses {crates}")));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_table_of_crates_has_every_dependency() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is there");
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("it has some");
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let named: BTreeSet<_> =
        dependencies.lines().filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect();
    let in_table: BTreeSet<_> = homes().into_iter().flat_map(|(crates, _)| crates).collect();
    assert_eq!(in_table, named);
}

#[test]
fn a_type_has_a_name_of_its_own_within_its_folder() {
    let sources = sources();
    let mut definitions: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for source in &sources {
        for name in source.types() {
            definitions.entry((source.folder(), name)).or_default().push(source.module());
        }
    }
    // What was typed and what it means: each subcommand and each program has its own.
    definitions.retain(|(_, name), modules| modules.len() > 1 && !["Args", "Config"].contains(name));
    let twice = definitions.iter().map(|((_, name), modules)| format!("{name}: {}", modules.join(", ")));
    assert_eq!(twice.collect::<Vec<_>>(), [""; 0]);
}
