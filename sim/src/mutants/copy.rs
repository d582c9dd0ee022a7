//! A copy of the workspace, in which bugs are planted and caught.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Args, Row, Run, Shrunk, Verdict, workspace};

/// Memory that a run may take, in KiB: a bug may make it take all there is.
const MEMORY_KIB: u64 = 6 * 1024 * 1024;
/// A run of one seed that takes longer hangs. None takes a hundredth of it otherwise.
const HANG_SECONDS: &str = "8";
/// What making a run small may take.
const SHRINKING: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// How the second line of a patch begins that names the tests or the command that must catch it.
const TESTS: &str = "tests: ";
const CHECK: &str = "check: ";
/// Cargo's target folder of the patched copy, in the scratch folder.
const TARGET: &str = "target";

/// A copy of the workspace, to be patched and built.
pub(super) struct Copy<'a> {
    args: &'a Args,
    scratch: PathBuf,
    tree: PathBuf,
}

impl<'a> Copy<'a> {
    pub(super) fn new(args: &'a Args) -> io::Result<Self> {
        let scratch = workspace().join("target/mutants");
        let tree = scratch.join("tree");
        fs::create_dir_all(&tree)?;
        let scratch = scratch.canonicalize()?;
        let tree = tree.canonicalize()?;
        let copy = Self { args, scratch, tree };
        copy.refresh()?;
        if let (false, Some(built)) = (copy.scratch.join(TARGET).exists(), release_folder()) {
            // So that what this program was built of needs not be built again. Where it does not work, it is built.
            let _ = link_all(&built, &copy.scratch.join(TARGET).join("release"));
        }
        Ok(copy)
    }

    /// Makes the copy what the workspace is. Files that are the same already keep their time, or all would be built
    /// again.
    fn refresh(&self) -> io::Result<()> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace())
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        let names: BTreeSet<&str> = listed.split_terminator('\0').collect();
        self.forget_others(&names, &self.tree)?;
        for name in names {
            let (from, to) = (workspace().join(name), self.tree.join(name));
            let Ok(content) = fs::read(from) else {
                continue;
            };
            if !fs::read(&to).is_ok_and(|before| before == content) {
                fs::create_dir_all(to.parent().unwrap_or(&self.tree))?;
                fs::write(to, content)?;
            }
        }
        Ok(())
    }

    /// Removes files that the workspace does not have any more.
    fn forget_others(&self, names: &BTreeSet<&str>, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.forget_others(names, &path)?;
            } else if let Ok(name) = path.strip_prefix(&self.tree)
                && !names.contains(name.to_string_lossy().as_ref())
            {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub(super) fn patched(&self, name: String, patch: &Path) -> io::Result<Row> {
        let text = fs::read_to_string(patch)?;
        let what = text.lines().next().unwrap_or_default().to_owned();
        let applied = Command::new("git")
            .arg("apply")
            .arg(patch.canonicalize()?)
            .current_dir(&self.tree)
            // The copy lies in the workspace's own repository, which git is not to look at.
            .env("GIT_CEILING_DIRECTORIES", &self.scratch)
            .stderr(Stdio::null())
            .status()?;
        if !applied.success() {
            return Ok(Row::broken(name, what, String::new(), "does not apply"));
        }
        let in_core = text.contains("\n+++ b/core/");
        let says = text.lines().nth(1).unwrap_or_default();
        let row = if let Some(tests) = says.strip_prefix(TESTS) {
            let tests: Vec<&str> = tests.split_whitespace().collect();
            self.try_tests(name, what, &tests)
        } else if let Some(check) = says.strip_prefix(CHECK) {
            self.try_check(name, what, check)
        } else {
            let system = system_of(&name, &text);
            self.try_one(name, what, system, !in_core, self.args.every_lane)
        };
        self.refresh()?;
        Ok(row)
    }

    /// Runs the lanes of `system` on the copy as it is now.
    pub(super) fn try_one(
        &self,
        name: String,
        what: String,
        system: &str,
        only_turmoil: bool,
        every_lane: bool,
    ) -> Row {
        let mut row = Row::broken(name, what, format!("simulator: {system}"), "does not build");
        if !only_turmoil {
            if self.build(&["build", "--package", "sim", "--bin", "sim"]).is_none() {
                return row;
            }
            row.calm = Some(self.direct(&["--system", system, "--no-faults"]));
            let mut direct = self.direct(&["--system", system]);
            if self.args.shrink {
                direct.shrunk = self.shrunk(&direct, system);
            }
            row.direct = Some(direct);
        }
        if every_lane || !row.is_caught() {
            let built = self.build(&["test", "--package", "sim", "--test", "faults", "--no-run"]);
            let Some(program) = built.and_then(|built| test_programs(&built).pop()) else {
                return row;
            };
            row.turmoil = Some(self.turmoil(&program, system));
        }
        row.broken = None;
        row
    }

    /// Runs these tests on the copy as it is now.
    fn try_tests(&self, name: String, what: String, tests: &[&str]) -> Row {
        let check = format!("cargo test {}", tests.join(" "));
        let mut row = Row::broken(name, what, check, "does not build");
        let Some(built) = self.build(&[&["test", "--no-run"], tests].concat()) else {
            return row;
        };
        for program in test_programs(&built) {
            let run = self.run(&program, &[], |output| Verdict::Caught {
                seed: None,
                rule: failed_test(output).unwrap_or_else(|| "the test itself died".to_owned()),
            });
            let caught = run.is_caught();
            row.tests = Some(run);
            if caught {
                break;
            }
        }
        row.broken = None;
        row
    }

    /// Runs this command on the copy as it is now.
    fn try_check(&self, name: String, what: String, check: &str) -> Row {
        let mut row = Row::broken(name, what, check.to_owned(), "does not build");
        row.broken = None;
        row.tests = Some(self.run(Path::new("sh"), &["-c", check], |output| {
            Verdict::Caught {
                seed: None,
                rule: failed_test(output)
                    .or_else(|| output.lines().next_back().map(str::to_owned))
                    .unwrap_or_else(|| "the check failed".to_owned()),
            }
        }));
        row
    }

    /// Cargo's messages about what it built.
    fn build(&self, what: &[&str]) -> Option<Vec<u8>> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(what)
            .args(["--release", "--message-format", "json"])
            // Built more often than run.
            .args(["--config", "profile.release.package.sim.opt-level=1"])
            .args(["--config", "profile.release.package.sim.codegen-units=64"])
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", self.scratch.join(TARGET))
            .env("CARGO_INCREMENTAL", "1")
            .stderr(Stdio::null())
            .output();
        built
            .ok()
            .filter(|built| built.status.success())
            .map(|built| built.stdout)
    }

    fn direct(&self, more: &[&str]) -> Run {
        let seeds = self.args.seeds.to_string();
        let args = [
            "campaign",
            "--first",
            "0",
            "--jobs",
            "1",
            "--json",
            "--stop-at-first",
            "--hang",
            HANG_SECONDS,
            "--seeds",
            &seeds,
        ];
        self.run(&self.program(), &[&args, more].concat(), |output| {
            // Failures were told as they were found, before it.
            let report = output.lines().next_back().unwrap_or_default();
            let report: Value = serde_json::from_str(report).unwrap_or_default();
            let caught = |seed, rule: &str| Verdict::Caught {
                seed,
                rule: rule.to_owned(),
            };
            let failure = &report["failures"][0];
            if let Some(rule) = failure["rule"].as_str() {
                caught(failure["seed"].as_u64(), rule)
            } else if let Some(unfair) = report["unfair"].as_str() {
                caught(report["seeds"].as_u64().map(|seeds| seeds - 1), unfair)
            } else if report.is_object() {
                caught(None, &format!("never happened: {}", report["never_happened"]))
            } else {
                caught(None, "crash: the campaign itself died")
            }
        })
    }

    /// Makes the run that caught the bug small.
    fn shrunk(&self, caught: &Run, system: &str) -> Option<Shrunk> {
        let Verdict::Caught { seed: Some(seed), .. } = caught.verdict else {
            return None;
        };
        let (seed, small) = (seed.to_string(), self.scratch.join("small.json"));
        let small = small.to_string_lossy();
        let args = ["shrink", &seed, "--system", system, "--json", "--output", &small];
        // One that hangs is not made small in any time.
        self.run_for(&self.program(), &args, Instant::now() + SHRINKING)
            .ok()??;
        let said = fs::read_to_string(self.output()).ok()?;
        said.lines().find_map(|line| serde_json::from_str(line).ok())
    }

    fn program(&self) -> PathBuf {
        self.scratch.join(TARGET).join("release/sim")
    }

    fn turmoil(&self, program: &Path, system: &str) -> Run {
        let test = format!("{system}_under_faults");
        self.run(program, &["--exact", &test], |output| {
            // A failure is shown as `seed 7, at 2.5s of virtual time, trace …: rule`.
            let mut lines = output.lines().filter_map(|line| line.strip_prefix("seed "));
            let line = lines.next().and_then(|line| line.split_once(", at "));
            let missed = output.lines().find(|line| line.contains("never happened"));
            Verdict::Caught {
                seed: line.and_then(|(seed, _)| seed.parse().ok()),
                rule: line.and_then(|(_, rest)| rest.split_once(": ")).map_or_else(
                    || missed.unwrap_or("the test itself died").to_owned(),
                    |(_, rule)| rule.to_owned(),
                ),
            }
        })
    }

    /// Runs a program for the limit at most. Unless it succeeds, its output says why it failed.
    fn run(&self, program: &Path, args: &[&str], why: impl Fn(&str) -> Verdict) -> Run {
        let start = Instant::now();
        let verdict = self.run_for(program, args, start + Duration::from_secs(self.args.limit));
        let verdict = match verdict {
            Ok(Some(true)) => Verdict::Escaped,
            Ok(Some(false)) => why(&fs::read_to_string(self.output()).unwrap_or_default()),
            Ok(None) => Verdict::Hung,
            Err(error) => why(&error.to_string()),
        };
        Run {
            verdict,
            seconds: start.elapsed().as_secs_f64(),
            shrunk: None,
        }
    }

    fn output(&self) -> PathBuf {
        self.scratch.join("output")
    }

    /// Whether it succeeded; `None` if it did not end.
    fn run_for(&self, program: &Path, args: &[&str], until: Instant) -> io::Result<Option<bool>> {
        let output = File::create(self.output())?;
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")])
            .arg(program)
            .args(args)
            .current_dir(&self.tree)
            .env("SIM_SEEDS", self.args.turmoil_seeds.to_string())
            .env("CARGO_TARGET_DIR", self.scratch.join(TARGET))
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()?;
        while Instant::now() < until {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status.success()));
            }
            thread::sleep(POLL);
        }
        child.kill()?;
        child.wait()?;
        Ok(None)
    }
}

/// Whether the simulator must catch the bug.
pub(super) fn is_simulated(patch: &str) -> bool {
    let says = patch.lines().nth(1).unwrap_or_default();
    !says.starts_with(TESTS) && !says.starts_with(CHECK)
}

/// The test that failed, in the output of a test program: one that says so, or that panics and ends the program.
fn failed_test(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        if line.starts_with("test ") && line.ends_with("FAILED") {
            return Some(line.to_owned());
        }
        let (test, place) = line.strip_prefix("thread '")?.split_once('\'')?;
        let is_a_test = test != "main" && !test.starts_with("tokio-rt-worker");
        (is_a_test && place.contains("panicked at")).then(|| format!("test {test} panicked"))
    })
}

/// The system that a patch is tried on: named after its number, or else the one whose code it changes.
pub(super) fn system_of(name: &str, patch: &str) -> &'static str {
    let others = ["hub", "chat", "numbers"];
    let says = |system: &&str| name.split('-').nth(1) == Some(*system);
    let is_in = |system: &&str| patch.contains(&format!("/src/{system}/"));
    let mut found = others.iter().filter(|system| says(system));
    let mut places = others.iter().filter(|system| is_in(system));
    found.next().or_else(|| places.next()).copied().unwrap_or("echo")
}

/// Where cargo has put this program and all that it was built of, if it is built for release.
fn release_folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    folder.ends_with("release").then(|| folder.to_owned())
}

/// Makes hard links to all that cargo has built, in a folder of the same layout.
fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    for folder in ["deps", "build", ".fingerprint"] {
        link_folder(&from.join(folder), &to.join(folder))?;
    }
    Ok(())
}

fn link_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_folder(&entry.path(), &to)?;
        } else {
            fs::hard_link(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The test programs, from cargo's messages.
fn test_programs(said: &[u8]) -> Vec<PathBuf> {
    let lines = said.split(|byte| *byte == b'\n');
    let artifacts = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let tests = artifacts.filter(|artifact| artifact["profile"]["test"] == true);
    tests
        .filter_map(|test| Some(test["executable"].as_str()?.into()))
        .collect()
}
