use echosphere_core::connection::ConnectionConfig;

/// The bounds of a gRPC server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcConfig {
    /// The bounds of HTTP/2 connections:
    ///
    /// - `max_connections`: open at once. The first call on one more is answered with `UNAVAILABLE`.
    /// - `handshake_timeout`: for the connection preface and SETTINGS of a client, and for the request of a health call.
    /// - `idle_timeout`: a connection without a call for this time is closed with GOAWAY.
    /// - `keepalive_interval`: between two pings. A peer that does not answer one within 20 s is disconnected.
    /// - `linger`: for a closing connection.
    ///
    /// Other fields are not used. Calls of the method have the bounds of the endpoint.
    pub connections: ConnectionConfig,
    /// The most calls under way on one connection. Default 1,000.
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
