//! The loads that every server is put under.

/// A load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) connections: u32,
    /// Connections that send; all receive.
    pub(crate) senders: u32,
    /// Round trips under way on each that sends.
    pub(crate) window: u32,
    /// Bytes of X.
    pub(crate) size: usize,
    /// Server and generator share one core.
    pub(crate) one_core: bool,
}

const fn all(name: &'static str, connections: u32, window: u32, size: usize) -> Shape {
    Shape {
        name,
        connections,
        senders: connections,
        window,
        size,
        one_core: false,
    }
}

const fn on_one_core(name: &'static str, shape: Shape) -> Shape {
    Shape {
        name,
        one_core: true,
        ..shape
    }
}

/// One round trip at a time between two connections: nothing but latency.
const ALONE: Shape = Shape {
    name: "alone",
    connections: 2,
    senders: 1,
    window: 1,
    size: 64,
    one_core: false,
};

/// All of them.
pub(crate) const SHAPES: [Shape; 11] = [
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

/// Connections that are held open without a word to see what each costs in memory.
pub(crate) const IDLE: u32 = 15_000;
