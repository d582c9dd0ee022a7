//! Progress bars on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::interval;

use crate::stderr;

/// Time between two updates.
const FRAME: Duration = Duration::from_millis(100);

/// A progress bar of this `length`, laid out by a `template` of indicatif. It is hidden where stderr shows no progress.
pub(crate) fn bar(length: u64, template: &str) -> ProgressBar {
    if !stderr::shows_progress() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style.progress_chars("=> "));
    stderr::keep_below(&bar);
    bar
}

/// Calls `update` for each frame.
///
/// # Errors
///
/// The first error of `update`; without one it never returns.
pub(crate) async fn keep(
    bar: &ProgressBar,
    mut update: impl AsyncFnMut(&ProgressBar) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut frames = interval(FRAME);
    loop {
        frames.tick().await;
        update(bar).await?;
    }
}
