//! The table of planted bugs and what catches them, for machines: `sim/mutants/results.tsv`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Row, Run, Verdict};

/// The names of the columns. A lane that was not run has an empty cell.
const HEAD: &str =
    "number\tname\ttitle\tcheck\tcaught by\tseed\tseconds\tmessage\tno faults\tdirect\tturmoil\tmeasured at";
/// A message is cut to this number of characters.
const MESSAGE: usize = 110;

/// The rows of the table by the numbers of the planted bugs.
pub(super) struct Results {
    path: PathBuf,
    rows: BTreeMap<u32, String>,
    /// The commit that is measured, and its date; with `+` if files differ from it.
    measured: String,
}

impl Results {
    /// Reads the table in the folder of the patches. Rows of bugs that are not there any more are left out.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join("results.tsv");
        let mut rows = BTreeMap::new();
        if path.exists() {
            for line in fs::read_to_string(&path)?.lines().skip(1) {
                let mut cells = line.split('\t');
                let (number, name) = (cells.next().and_then(|number| number.parse().ok()), cells.next());
                if let (Some(number), Some(name)) = (number, name)
                    && folder.join(format!("{name}.patch")).exists()
                {
                    rows.insert(number, line.to_owned());
                }
            }
        }
        let measured = git(folder, &["log", "-1", "--format=%h %cs"])?;
        // Patches and results are not measured themselves.
        let changed = !git(folder, &["status", "--porcelain", ":/", ":!."])?.is_empty();
        let measured = measured + if changed { " +" } else { "" };
        Ok(Self { path, rows, measured })
    }

    /// Sets the row of one bug and writes the table.
    pub(super) fn set(&mut self, row: &Row) -> io::Result<()> {
        let number = number(&row.name);
        self.rows.insert(number, line(number, row, &self.measured));
        let lines = self.rows.values().map(|line| format!("{line}\n"));
        fs::write(&self.path, format!("{HEAD}\n{}", lines.collect::<String>()))
    }
}

/// What git prints in this folder.
fn git(folder: &Path, args: &[&str]) -> io::Result<String> {
    let output = Command::new("git").args(args).current_dir(folder).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The number that a patch's name begins with.
fn number(name: &str) -> u32 {
    let digits = name.split('-').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

fn line(number: u32, row: &Row, measured: &str) -> String {
    let caught = row.caught_by().map(|(_, run)| run);
    let seed = match caught.map(|run| &run.verdict) {
        Some(Verdict::Caught { seed: Some(seed), .. }) => seed.to_string(),
        _ => String::new(),
    };
    let seconds = caught.map_or_else(String::new, |run| format!("{:.1}", run.seconds));
    let cell = |run: &Option<Run>| run.as_ref().map_or_else(String::new, Run::cell);
    let cells = [
        number.to_string(),
        row.name.clone(),
        row.what.clone(),
        row.check.clone(),
        row.verdict().to_owned(),
        seed,
        seconds,
        row.rule().chars().take(MESSAGE).collect(),
        cell(&row.calm),
        cell(&row.direct),
        cell(&row.turmoil),
        measured.to_owned(),
    ];
    let cells = cells.map(|cell| cell.replace(['\t', '\n'], " "));
    cells.join("\t")
}
