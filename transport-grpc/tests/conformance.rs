//! Calls keep the contract of transports.

use std::io;

use async_trait::async_trait;
use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::conformance::{Side, Transport, check};
use echosphere_driver::settle::Settle;
use echosphere_driver::{Incoming, Listener};
use echosphere_transport_grpc::numbers::GetNumbers;
use echosphere_transport_grpc::{GrpcConfig, GrpcConnector, GrpcListener, GrpcStream, Serving};
use echosphere_transport_tcp::{TcpConnector, TcpListener};

struct Grpc;

/// A listener with the server behind it.
struct Serves(
    GrpcListener<GetNumbers>,
    #[expect(dead_code, reason = "dropping it ends the server")] Serving,
);

#[async_trait]
impl Listener for Serves {
    type Stream = GrpcStream;

    async fn accept(&mut self) -> io::Result<Incoming<GrpcStream>> {
        self.0.accept().await
    }

    fn settle(&self) -> std::sync::Arc<dyn Settle> {
        self.0.settle()
    }
}

#[async_trait]
impl Transport for Grpc {
    type Listener = Serves;
    type Connector = GrpcConnector<GetNumbers, TcpConnector>;

    async fn start(&self) -> io::Result<(Serves, Self::Connector)> {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        let addr = listener.local_addr()?;
        let config = GrpcConfig {
            connections: ConnectionConfig::default(),
            ..GrpcConfig::default()
        };
        let (listener, serving) = GrpcListener::over(listener, config)?;
        let connector = GrpcConnector::over(TcpConnector::new(addr), addr.to_string());
        Ok((Serves(listener, serving), connector))
    }

    /// A gRPC message: not compressed, the length, the payload.
    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        [&[0], &(payload.len() as u32).to_be_bytes()[..], payload].concat()
    }

    /// A server's end of a call is its last word.
    fn half_closes(&self) -> bool {
        false
    }

    /// A client that drops a call cancels it.
    fn delivers_after_drop(&self, end: Side) -> bool {
        end == Side::Accepted
    }
}

#[tokio::test]
async fn calls_keep_the_contract() {
    check(&Grpc).await.assert_passed();
}
