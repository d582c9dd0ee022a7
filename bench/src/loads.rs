//! The loads of `compare`.

/// A named load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSpec {
    pub(crate) name: &'static str,
    pub(crate) connections: u32,
    /// The number of connections that send. All connections receive.
    pub(crate) senders: u32,
    /// The number of round trips in flight on each sender.
    pub(crate) window: u32,
    /// The length of X in bytes.
    pub(crate) size: usize,
    /// Whether server and generator share one core.
    pub(crate) one_core: bool,
}

const fn all(name: &'static str, connections: u32, window: u32, size: usize) -> LoadSpec {
    LoadSpec {
        name,
        connections,
        senders: connections,
        window,
        size,
        one_core: false,
    }
}

const fn on_one_core(name: &'static str, load_spec: LoadSpec) -> LoadSpec {
    LoadSpec {
        name,
        one_core: true,
        ..load_spec
    }
}

/// One round trip at a time between two connections, to measure latency.
const ALONE: LoadSpec = LoadSpec {
    name: "alone",
    connections: 2,
    senders: 1,
    window: 1,
    size: 64,
    one_core: false,
};

/// All loads.
pub(crate) const LOADS: [LoadSpec; 11] = [
    all("100 w1", 100, 1, 64),
    all("100 w16", 100, 16, 64),
    all("100 w16 1KiB", 100, 16, 1024),
    all("1000 w1", 1000, 1, 64),
    all("1000 w16", 1000, 16, 64),
    all("10000 w1", 10_000, 1, 64),
    all("10000 w4", 10_000, 4, 64),
    ALONE,
    on_one_core("alone, one core", ALONE),
    on_one_core("100 w1, one core", all("", 100, 1, 64)),
    on_one_core("100 w16, one core", all("", 100, 16, 64)),
];

/// The number of silent connections when measuring the memory of each.
pub(crate) const IDLE: u32 = 15_000;
