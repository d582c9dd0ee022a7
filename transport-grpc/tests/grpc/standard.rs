//! gRPC's standard services, and what is said to requests that are not gRPC's or are compressed.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use echosphere_core::numbers::Message;
use futures_util::stream;
use tokio::sync::mpsc;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse};

use crate::support::{HttpClient, channel, message, path, replies, requests, start};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

#[tokio::test]
async fn health_answers_for_the_server_and_its_service_and_knows_no_other() {
    let running = start();
    let mut health = HealthClient::new(channel(running.addr).await);
    for service in ["", "grpc.Comms"] {
        let service = service.to_owned();
        let checked = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(checked.into_inner().status(), ServingStatus::Serving);
    }
    let unknown = HealthCheckRequest {
        service: "grpc.Comms/GetNumbers".to_owned(),
    };
    let checked = health.check(unknown.clone()).await.unwrap_err();
    assert_eq!(checked.code(), Code::NotFound);
    let mut watch = health.watch(unknown).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    // It goes on, and nothing more is said.
    let mut next = pin!(watch.message());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let waits = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
    assert!(waits);
    drop(health);
    running.handle.drain(Duration::ZERO).await.unwrap();
    assert!(running.driver.await.unwrap().is_zero());
    let (end, ()) = tokio::join!(next, running.serving.ended());
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
}

/// A stream of questions and answers.
struct Questions {
    ask: mpsc::UnboundedSender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

impl Questions {
    async fn ask(&mut self, question: Option<MessageRequest>) -> MessageResponse {
        let request = ServerReflectionRequest {
            host: "here".to_owned(),
            message_request: question,
        };
        self.ask.send(request.clone()).unwrap();
        let answer = self.answers.message().await.unwrap().unwrap();
        assert_eq!(answer.valid_host, "here");
        assert_eq!(answer.original_request, Some(request));
        answer.message_response.unwrap()
    }

    async fn error(&mut self, question: Option<MessageRequest>) -> Code {
        match self.ask(question).await {
            MessageResponse::ErrorResponse(error) => error.error_code.into(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn reflection_tells_what_there_is_and_an_error_does_not_end_it() {
    let running = start();
    let mut client = ServerReflectionClient::new(channel(running.addr).await);
    let (ask, mut asked) = mpsc::unbounded_channel();
    let asked = stream::poll_fn(move |cx| asked.poll_recv(cx));
    let answers = client.server_reflection_info(asked).await;
    let answers = answers.unwrap().into_inner();
    let mut questions = Questions { ask, answers };

    let symbol = |name: &str| Some(MessageRequest::FileContainingSymbol(name.to_owned()));
    let file = |name: &str| Some(MessageRequest::FileByFilename(name.to_owned()));
    let extensions = |name: &str| Some(MessageRequest::AllExtensionNumbersOfType(name.to_owned()));
    let extension = ExtensionRequest {
        containing_type: "grpc.NumbersRequest".to_owned(),
        extension_number: 100,
    };
    for unknown in [
        symbol("grpc.NoSuchThing"),
        symbol("Comms"),
        symbol(""),
        file("numbers"),
        extensions("grpc.NoSuchThing"),
        Some(MessageRequest::FileContainingExtension(extension)),
    ] {
        assert_eq!(questions.error(unknown.clone()).await, Code::NotFound, "{unknown:?}");
    }
    assert_eq!(questions.error(None).await, Code::InvalidArgument);
    for known in [
        symbol("grpc.Comms"),
        symbol("grpc.Comms.GetNumbers"),
        symbol("grpc.NumbersRequest"),
        symbol("grpc.health.v1.Health"),
        symbol("grpc.reflection.v1.ServerReflection"),
        symbol("grpc.reflection.v1alpha.ServerReflection"),
        file("numbers.proto"),
    ] {
        let answer = questions.ask(known).await;
        assert!(
            matches!(&answer, MessageResponse::FileDescriptorResponse(files) if files.file_descriptor_proto.len() == 1),
            "{answer:?}"
        );
    }
    match questions.ask(extensions("grpc.NumbersRequest")).await {
        MessageResponse::AllExtensionNumbersResponse(told) => {
            assert_eq!(told.base_type_name, "grpc.NumbersRequest");
            assert_eq!(told.extension_number, []);
        }
        other => panic!("{other:?}"),
    }
    match questions.ask(Some(MessageRequest::ListServices(String::new()))).await {
        MessageResponse::ListServicesResponse(services) => {
            let mut names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
            names.sort_unstable();
            let all = [
                "grpc.Comms",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ];
            assert_eq!(names, all);
        }
        other => panic!("{other:?}"),
    }
    let Questions { ask, mut answers } = questions;
    drop(ask);
    assert_eq!(answers.message().await.unwrap(), None);
    drop(client);
    running.end().await;
}

#[tokio::test]
async fn the_older_reflection_gives_the_same_answers() {
    use prost::Message as _;
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("grpc.NoSuchThing".to_owned())),
    };
    let question = message(&question.encode_to_vec());
    let older = REFLECTION.replace("v1", "v1alpha");
    let mut answers = Vec::new();
    for path in [REFLECTION, &older] {
        let told = http.post(path, &[], &[&question[..], &question].concat()).await;
        assert_eq!(told.code(), Code::Ok);
        answers.push(told.body);
    }
    assert_eq!(answers[0], answers[1]);
    let (first, second) = answers[0].split_at(answers[0].len() / 2);
    assert_eq!(first, second);
    let answer = ServerReflectionResponse::decode(&first[5..]).unwrap();
    assert!(
        matches!(answer.message_response, Some(MessageResponse::ErrorResponse(_))),
        "{answer:?}"
    );
    running.end().await;
}

#[tokio::test]
async fn an_encoding_that_is_not_supported_is_unimplemented_and_the_supported_one_named() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    for path in [&path(), CHECK, REFLECTION] {
        let told = http.post(path, &[("grpc-encoding", "gzip")], &message(&[])).await;
        assert_eq!(told.code(), Code::Unimplemented, "{path}");
        assert_eq!(told.headers["grpc-accept-encoding"], "identity");
        let said = told.status.unwrap();
        assert!(
            said.message().contains("gzip") && said.message().contains("identity"),
            "{said}"
        );
    }
    let identity = [("grpc-encoding", "identity"), ("grpc-accept-encoding", "gzip,deflate")];
    let told = http.post(&path(), &identity, &requests(&[Message::End])).await;
    assert_eq!((told.code(), replies(&told.body)), (Code::Ok, vec![]));
    let told = http.post(CHECK, &identity, &message(&[])).await;
    assert_eq!(told.code(), Code::Ok);
    running.end().await;
}

#[tokio::test]
async fn a_compressed_message_without_an_encoding_is_an_internal_error() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    let mut compressed = message(b"x");
    compressed[0] = 1;
    for path in [&path(), CHECK] {
        let told = http.post(path, &[], &compressed).await;
        assert_eq!(told.code(), Code::Internal, "{path}");
    }
    // Also when it is not the first, and comes in pieces.
    let start = requests(&[Message::Continue(5)]);
    let mut asking = http.ask(&path(), &[("grpc-encoding", "identity")]).await;
    for byte in [&start, &compressed].into_iter().flatten() {
        asking.send(&[*byte], false);
    }
    assert_eq!(asking.told().await.code(), Code::Internal);
    running.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_unimplemented_and_what_is_not_grpc_unsupported() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    for path in [
        "/grpc.Comms/getNumbers",
        "/grpc.Other/GetNumbers",
        "/",
        "/grpc.health.v1.Health/Other",
    ] {
        let told = http.post(path, &[], &[]).await;
        assert_eq!((told.http, told.code()), (200, Code::Unimplemented), "{path}");
    }
    for path in [&path(), CHECK] {
        let told = http.post(path, &[("content-type", "text/html")], &[]).await;
        assert_eq!((told.http, told.status.is_none()), (415, true), "{path}");
        let told = http
            .post(path, &[("content-type", "application/grpc+proto")], &message(&[]))
            .await;
        assert_eq!(told.http, 200, "{path}");
    }
    running.end().await;
}
