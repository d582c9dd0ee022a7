//! Counters.

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// Every counter with its name, in order of declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}
pub(crate) use counters;

counters! {
    /// What an endpoint's connections have done.
    ConnectionCounters {
        /// Connections accepted.
        accepted,
        /// Connections refused: too many, or draining.
        refused,
        /// Connections made by this side.
        dialled,
        /// Attempts to connect that failed.
        dials_failed,
        /// Connections that the peer closed cleanly.
        closed_by_peer,
        /// Connections that broke.
        resets,
        /// Connections that the machine closed, or that a shutdown closed.
        closed_by_us,
        /// Connections that the transport could not negotiate.
        failed_negotiations,
        /// Connections whose peer asked the transport for something else, such as a web page, and was answered.
        answered,
        /// Connections without a complete frame in time.
        handshake_timeouts,
        /// Connections closed by the idle time-out.
        idle_timeouts,
        /// Connections dropped because the peer did not read.
        slow_consumers,
        /// Connections closed because partial messages exceeded their limit and theirs was the largest.
        refused_partial,
        /// Connections closed because their bytes could not be decoded.
        malformed,
        /// Requests answered with an error, on connections that stayed open.
        invalid,
        /// Connections that did not close cleanly within the linger time.
        lingered,
        /// Messages received.
        messages_in,
        /// Messages queued for sending.
        messages_out,
        /// Keepalives queued for sending.
        keepalives,
        /// Bytes received.
        bytes_in,
        /// Bytes written.
        bytes_out,
    }
}
