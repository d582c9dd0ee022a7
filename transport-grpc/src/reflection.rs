use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::sleep;
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::server_reflection_server::{ServerReflection, ServerReflectionServer};
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, ServerReflectionRequest, ServerReflectionResponse,
};

type Responses = Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

use crate::shutdown::Shutdown;

/// `grpc.reflection.v1`.
struct Reflection<S>(Arc<ReflectionAnswers<S>>);

/// Answers requests of reflection.
///
/// tonic's service ends a stream at the first request that it cannot answer. So each request gets a stream of its own there.
struct ReflectionAnswers<S> {
    known: ServerReflectionClient<ServerReflectionServer<S>>,
    idle_timeout: Duration,
    drain: Shutdown,
}

/// Reflection of the service with these descriptors and of the standard services. It ends a stream without a request for
/// `idle_timeout`, and all streams when the server ends.
///
/// # Errors
///
/// If `descriptors` is not a `FileDescriptorSet`.
pub(crate) fn server(
    descriptors: &'static [u8],
    idle_timeout: Duration,
    drain: Shutdown,
) -> io::Result<ServerReflectionServer<impl ServerReflection>> {
    let known = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    let known = ReflectionAnswers {
        known: ServerReflectionClient::new(known),
        idle_timeout,
        drain,
    };
    Ok(ServerReflectionServer::new(Reflection(Arc::new(known))))
}

#[tonic::async_trait]
impl<S: ServerReflection> ServerReflection for Reflection<S> {
    type ServerReflectionInfoStream = Responses;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let known = Arc::clone(&self.0);
        let responses = stream::try_unfold(request.into_inner(), move |mut requests| {
            let known = Arc::clone(&known);
            async move {
                let answer = known.next(&mut requests).await?;
                Ok(answer.map(|answer| (answer, requests)))
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

impl<S: ServerReflection> ReflectionAnswers<S> {
    /// Answers the next request, if there is one.
    async fn next(
        &self,
        requests: &mut Streaming<ServerReflectionRequest>,
    ) -> Result<Option<ServerReflectionResponse>, Status> {
        let request = tokio::select! {
            biased;
            request = requests.message() => request?,
            () = self.drain.over() => return Err(Status::unavailable("the server has shut down")),
            () = sleep(self.idle_timeout) => return Err(Status::deadline_exceeded("no request arrived in time")),
        };
        match request {
            Some(request) => Ok(Some(self.answer(request).await)),
            None => Ok(None),
        }
    }

    async fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let response = match &request.message_request {
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => self.extensions_of(name).await,
            _ => self.ask(request.clone()).await,
        };
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(response.unwrap_or_else(|status| {
                MessageResponse::ErrorResponse(ErrorResponse {
                    error_code: status.code().into(),
                    error_message: status.message().to_owned(),
                })
            })),
        }
    }

    async fn ask(&self, request: ServerReflectionRequest) -> Result<MessageResponse, Status> {
        let question = stream::iter([request]);
        let mut answers = self.known.clone().server_reflection_info(question).await?.into_inner();
        let answer = answers.message().await?.and_then(|answer| answer.message_response);
        answer.ok_or_else(|| Status::internal("no answer"))
    }

    /// No file has extensions, but the type must exist.
    async fn extensions_of(&self, name: &str) -> Result<MessageResponse, Status> {
        let symbol = MessageRequest::FileContainingSymbol(name.to_owned());
        self.ask(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(symbol),
        })
        .await?;
        Ok(MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
            base_type_name: name.to_owned(),
            extension_number: Vec::new(),
        }))
    }
}
