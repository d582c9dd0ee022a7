//! A run as a file: its plan and every decision, so that later versions of the code can replay it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::direct::{Case, Options, Outcome, run_direct};
use crate::oracle::Workload;

/// A run of the direct driver, written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The system that ran.
    pub system: String,
    /// What rule it broke, if it did; for those who read the file.
    pub rule: Option<String>,
    /// The hash of its trace.
    pub hash: String,
    /// Its plan.
    pub case: Case,
    /// What its clients did.
    pub workload: Value,
    /// What the network decided, in order. What is decided beyond them comes from the case's seed.
    pub decisions: Vec<u64>,
}

impl Record {
    /// Runs `case` and writes down what happens.
    pub fn of<W: Workload>(case: &Case, workload: &W) -> (Self, Outcome<W::Oracle>) {
        let options = Options {
            decisions: Vec::new(),
            record: true,
            ..Options::default()
        };
        let mut outcome = run_direct(case, workload, options);
        let (rule, hash) = match &outcome.result {
            Ok(report) => (None, report.hash),
            Err(failure) => (Some(failure.rule.clone()), failure.hash),
        };
        let record = Self {
            system: W::NAME.to_owned(),
            rule,
            hash: format!("{hash:016x}"),
            case: case.clone(),
            workload: workload.to_json(),
            decisions: std::mem::take(&mut outcome.decisions),
        };
        (record, outcome)
    }

    /// Runs it again.
    ///
    /// # Errors
    ///
    /// If it is the record of another system than `W`, or its workload cannot be read.
    pub fn replay<W: Workload>(&self) -> Result<Outcome<W::Oracle>, String> {
        let (workload, options) = self.parts::<W>()?;
        Ok(run_direct(&self.case, &workload, options))
    }

    /// What it takes, beside the case, to run it again.
    ///
    /// # Errors
    ///
    /// If it is the record of another system than `W`, or its workload cannot be read.
    pub fn parts<W: Workload>(&self) -> Result<(W, Options), String> {
        if self.system != W::NAME {
            return Err(format!("a run of {}, not of {}", self.system, W::NAME));
        }
        let workload = W::from_json(&self.workload).map_err(|error| format!("its `workload`: {error}"))?;
        let options = Options {
            decisions: self.decisions.clone(),
            record: false,
            ..Options::default()
        };
        Ok((workload, options))
    }

    /// Reads a file that [`Record::write`] wrote.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is no such file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        serde_json::from_str(&text).map_err(|error| told(&error))
    }

    /// Writes it to a file.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = serde_json::to_string(self).map_err(|error| told(&error))?;
        fs::write(path, text + "\n").map_err(|error| told(&error))
    }
}
