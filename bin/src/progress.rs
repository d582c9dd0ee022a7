//! Progress, for people who look at a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::interval;

use crate::stderr;

/// How often what is shown is brought up to date.
const FRAME: Duration = Duration::from_millis(100);

/// A bar that looks like this template of indicatif's. It shows nothing where nobody looks.
pub(crate) fn bar(length: u64, look: &str) -> ProgressBar {
    if !stderr::shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(look).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style.progress_chars("=> "));
    stderr::keep_below(&bar);
    bar
}

/// Calls `update` again and again, for ever.
pub(crate) async fn keep(bar: &ProgressBar, mut update: impl FnMut(&ProgressBar)) {
    let mut frames = interval(FRAME);
    loop {
        frames.tick().await;
        update(bar);
    }
}
