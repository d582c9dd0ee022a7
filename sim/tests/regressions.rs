//! Recorded runs that broke a rule once. They must pass.

use std::fs;
use std::path::{Path, PathBuf};

use sim::oracle::Workload;
use sim::oracle::chat::Chat;
use sim::oracle::echo::Echo;
use sim::oracle::hub::Hub;
use sim::oracle::numbers::Numbers;
use sim::record::Record;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn replay<W: Workload>(record: &Record, path: &Path) {
    let outcome = record.replay::<W>().expect("a run of its system");
    if let Err(failure) = outcome.result {
        panic!("{}: {failure}", path.display());
    }
}

#[test]
fn what_was_wrong_once_is_right_now() {
    let files = files();
    assert!(files.len() > 2, "the folder has lost its files");
    for path in &files {
        let record = Record::read(path).expect("a recorded run");
        assert!(record.rule.is_some(), "{}: what rule did it break?", path.display());
        match record.system.as_str() {
            Echo::NAME => replay::<Echo>(&record, path),
            Hub::NAME => replay::<Hub>(&record, path),
            Chat::NAME => replay::<Chat>(&record, path),
            Numbers::NAME => replay::<Numbers>(&record, path),
            other => panic!("{}: no system is called {other}", path.display()),
        }
    }
}
