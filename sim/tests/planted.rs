//! The table of planted bugs and what catches them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn every_planted_bug_is_in_the_table_and_none_escaped() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
    let table = fs::read_to_string(folder.join("results.tsv")).expect("the table is there");
    let mut lines = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().expect("a line with the columns' names");
    let column = |name| head.iter().position(|cell| *cell == name).expect("such a column");
    let (name, caught) = (column("name"), column("caught by"));
    let mut rows: BTreeMap<String, String> = lines.map(|cells| (cells[name].into(), cells[caught].into())).collect();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let patch = path.file_stem().expect("a name").to_string_lossy().into_owned();
        match rows.remove(&patch).as_deref() {
            Some("direct, no faults" | "direct" | "turmoil" | "tests") => {}
            Some(other) => wrong.push(format!("{patch}: {other}")),
            None => wrong.push(format!("{patch}: no row")),
        }
    }
    wrong.extend(rows.into_keys().map(|name| format!("{name}: no patch")));
    assert_eq!(wrong, Vec::<String>::new());
}

/// A row is the same wherever it was measured.
#[test]
fn no_row_names_a_folder_of_the_machine_that_measured_it() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants/results.tsv");
    let table = fs::read_to_string(table).expect("the table is there");
    let is_absolute = |word: &&str| {
        word.trim_matches(|c: char| c.is_ascii_punctuation() && c != '/')
            .starts_with('/')
    };
    let paths: Vec<&str> = table.split_whitespace().filter(is_absolute).collect();
    assert_eq!(paths, Vec::<&str>::new());
}
