//! A table of file descriptors of a thread's own.
//!
//! A descriptor is a number with no meaning in the table of another thread. So the sockets of a thread never leave it. A tokio
//! runtime is woken through a descriptor, which must exist before the tables are separated. So the runtimes of the threads are
//! made before the threads, and the runtime of the driver before both.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use nix::unistd::close;

/// Gives the calling thread its own descriptor table: a copy of the table of the process, without its IP sockets. Copies of
/// those would stay open after the process closes them.
///
/// # Errors
///
/// If the system does not allow it, or has no `/proc`.
pub(super) fn unshare_descriptors() -> io::Result<()> {
    let context = |what| move |error| io::Error::other(format!("a thread cannot {what}: {error}"));
    // A signal handler can write to a descriptor of the process.
    SigSet::all().thread_block().map_err(context("block signals"))?;
    unshare(CloneFlags::CLONE_FILES)
        .map_err(context("get its own file descriptors (is unshare(2) forbidden here?)"))?;
    // The names are collected first, as the open directory is one of the descriptors.
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
