//! Counters of what was done and dropped.

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// Every counter with its name, in the order of their declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}
pub(crate) use counters;

counters! {
    /// What an endpoint's connections did, since it was made.
    ConnectionCounters {
        /// Connections that peers opened.
        accepted,
        /// Connections that peers opened and that were refused: too many, or draining.
        refused,
        /// Connections that we opened.
        dialled,
        /// Attempts to connect that failed.
        dials_failed,
        /// Connections closed in order by the peer.
        closed_by_peer,
        /// Connections that broke.
        resets,
        /// Connections closed because the machine asked for it or this side shut down.
        closed_by_us,
        /// Connections whose peer sent nothing complete in time.
        handshake_timeouts,
        /// Connections whose peer was silent for too long.
        idle_timeouts,
        /// Connections dropped because the peer did not read.
        slow_consumers,
        /// Connections closed because partial messages held too many bytes, and theirs was the largest.
        refused_partial,
        /// Connections closed because their stream could not be read on.
        malformed,
        /// Requests answered with an error on a connection that stayed.
        invalid,
        /// Connections that did not close in order within the linger time.
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
