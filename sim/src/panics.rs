//! Panics inside a run: they are reported as failures of the run.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::run::PANIC;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// Where the last one was that was not printed.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on, panics of what is run print nothing. All others do.
pub fn hush() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if CATCHING.get() {
            let place = info.location().map(ToString::to_string);
            PLACE.with_borrow_mut(|kept| *kept = place);
        } else {
            print(info);
        }
    }));
}

/// The result of `run`; a panic becomes an error with its message and place.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(false);
    result.unwrap_or_else(|panic| {
        let place = PLACE.take().map(|place| format!(", at {place}"));
        Err(format!("{PANIC}{}{}", text(&*panic), place.unwrap_or_default()))
    })
}

/// The message of a panic.
pub(crate) fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}
