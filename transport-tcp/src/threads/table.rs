//! A thread's own table of descriptors.
//!
//! A descriptor is a number, and means nothing in another thread's table. So the sockets of a thread never leave it, and
//! whatever wakes a thread through a descriptor must have made it before the tables parted: a tokio runtime wakes through
//! one. That is why the threads' runtimes are made before the threads, and why the driver's must be older than both.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use nix::unistd::close;

/// Gives the calling thread a table of descriptors of its own: a copy of the process's, without its IP sockets, which would
/// else stay open for as long as the thread runs, whoever closes them.
///
/// # Errors
///
/// If the system does not allow it, or has no `/proc`.
pub(super) fn have_own() -> io::Result<()> {
    let context = |what| move |error| io::Error::other(format!("a thread cannot {what}: {error}"));
    // Whoever handles a signal may write to a descriptor of the process.
    SigSet::all()
        .thread_block()
        .map_err(context("leave signals to others"))?;
    unshare(CloneFlags::CLONE_FILES).map_err(context("have descriptors of its own (is unshare(2) forbidden here?)"))?;
    // All of them first: the folder that is read is one.
    let names = fs::read_dir("/proc/thread-self/fd")?.map(|entry| Ok(entry?.file_name()));
    for name in names.collect::<io::Result<Vec<_>>>()? {
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let family = getsockname::<SockaddrStorage>(fd).ok().and_then(|addr| addr.family());
        if matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6)) {
            close(fd)?;
        }
    }
    Ok(())
}
