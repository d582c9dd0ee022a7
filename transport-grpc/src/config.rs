use echosphere_core::connection::ConnectionConfig;

/// The bounds of a gRPC server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcConfig {
    /// The bounds of its HTTP/2 connections:
    ///
    /// - `max_connections`: held at once. The first call on one more is answered `UNAVAILABLE`.
    /// - `handshake_timeout`: for a client to send its connection preface and SETTINGS, and the request of a call of health.
    /// - `idle_timeout`: how long a connection may have no call before it is closed with GOAWAY.
    /// - `keepalive_interval`: from one ping to the next. A peer that does not answer within 20 s is disconnected.
    /// - `linger`: how long a closing connection may take.
    ///
    /// The other fields are not used here. Calls of the method have the bounds of the endpoint that takes them.
    pub connections: ConnectionConfig,
    /// Calls under way on one connection. Default 1,000.
    pub max_calls: u32,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            connections: ConnectionConfig::default(),
            max_calls: 1000,
        }
    }
}
