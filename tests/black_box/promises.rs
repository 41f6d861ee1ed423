//! That `docs/promises.md` promises what the program does: its exit statuses, its schemas with their
//! versions, and the codes of its findings.

use std::fs;
use std::path::Path;

use serde_json::Value;
use websockets_cli::mesh::rules;

use crate::support::{run, text};

const PAGE: &str = include_str!("../../docs/promises.md");

/// The cells of the table in a section of the page.
fn table(section: &str) -> Vec<Vec<String>> {
    let (_, rest) = PAGE.split_once(&format!("\n## {section}\n")).expect("the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
    // The first two are the head and the line beneath it.
    rows.skip(2).map(cells).collect()
}

#[test]
fn the_exit_statuses_are_those_of_help() {
    let help = text(&run(&["--help"], "").stdout);
    let (_, statuses) = help.split_once("Exit status:\n").expect("a table at the end");
    let split = |line: &str| {
        let (status, meaning) = line.trim().split_once(' ')?;
        Some(vec![status.to_owned(), meaning.trim().to_owned()])
    };
    let said: Vec<Vec<String>> = statuses.lines().filter_map(split).collect();
    assert_eq!(table("Exit statuses"), said);
    let readme = include_str!("../../README.md");
    for status in said {
        let beginnings =
            [format!("| {} |", status[0]), format!("| {}, ", status[0]), format!(", {} |", status[0])];
        assert!(beginnings.iter().any(|beginning| readme.contains(beginning)), "README: {}", status[0]);
    }
}

#[test]
fn the_codes_are_those_of_the_rules_with_their_severities() {
    let known: Vec<_> =
        rules::ALL.iter().map(|rule| vec![rule.code.to_owned(), rule.severity.to_string()]).collect();
    let promised = table("Codes of findings");
    let beyond = |these: &[Vec<String>], those: &[Vec<String>]| -> Vec<Vec<String>> {
        these.iter().filter(|row| !those.contains(row)).cloned().collect()
    };
    let (new, gone) = (beyond(&known, &promised), beyond(&promised, &known));
    assert_eq!((new, gone), (vec![], vec![]), "codes that docs/promises.md lacks, and that it has beyond");
    assert_eq!(promised, known, "in the same order");
}

#[test]
fn the_schemas_are_those_of_the_folder_with_the_versions_that_are_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let entries = fs::read_dir(folder).expect("the folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.ends_with(".schema.json"))
        .collect();
    files.sort();
    let promised = table("Forms that programs read");
    assert_eq!(promised.iter().map(|row| row[1].clone()).collect::<Vec<_>>(), files);
    let version = |what: &str| {
        let row = promised.iter().find(|row| row[0].starts_with(what)).expect(what);
        row[2].parse::<u64>().expect("a number")
    };
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80}]}\n";
    for (what, args, input) in [
        ("lint", &["lint", "--output", "json", "-f", "-"][..], service),
        ("probe", &["probe", "--output", "json", "ws://127.0.0.1:1"], ""),
        ("verify", &["verify", "--scenario", "http1", "--report", "json=-"], ""),
    ] {
        let written: Value = serde_json::from_slice(&run(args, input).stdout).expect("JSON");
        assert_eq!(written["version"], version(what), "{what}");
    }
    let messages: Value =
        serde_json::from_str(include_str!("../../schemas/client-messages.schema.json")).expect("JSON");
    assert_eq!(messages["properties"]["version"]["const"], version("client"));
}
