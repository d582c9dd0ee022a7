use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::shutdown::Shutdown;

/// `grpc.health.v1`: `SERVING` until the server drains.
pub(crate) struct Health {
    service: &'static str,
    drain: Shutdown,
}

impl Health {
    /// Health of this service, and of the whole server as the empty name.
    pub(crate) const fn new(service: &'static str, drain: Shutdown) -> Self {
        Self { service, drain }
    }

    fn knows(&self, request: &Request<HealthCheckRequest>) -> bool {
        let asked = &request.get_ref().service;
        asked.is_empty() || asked == self.service
    }

    fn status(&self) -> ServingStatus {
        if self.drain.has_begun() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if self.knows(&request) {
            Ok(Response::new(response(self.status())))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let first = if self.knows(&request) {
            self.status()
        } else {
            ServingStatus::ServiceUnknown
        };
        let drain = self.drain.clone();
        let change = stream::once(async move {
            drain.begun().await;
            ServingStatus::NotServing
        });
        let changes = if first == ServingStatus::Serving {
            change.left_stream()
        } else {
            stream::empty().right_stream()
        };
        let drain = self.drain.clone();
        let end = stream::once(async move {
            drain.over().await;
            Err(Status::unavailable("the server has shut down"))
        });
        let statuses = stream::iter([first]).chain(changes).map(|status| Ok(response(status)));
        Ok(Response::new(Box::pin(statuses.chain(end))))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
