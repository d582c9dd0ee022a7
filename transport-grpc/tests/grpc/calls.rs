//! Calls, as a driver has them: their messages and how they end.

use std::time::Duration;

use echosphere_core::numbers::{Message, Notice, StreamSpec, Total};
use echosphere_core::wire::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::support::{HttpClient, PendingAnswer, UUID, call, get, path, replies, requests, session, start, within};

#[tokio::test]
async fn our_client_gets_a_session_and_another_goes_on_with_it() {
    let running = start();
    let told = get(running.addr, session(300, None), within(Duration::from_secs(5))).await;
    assert_eq!(told.len(), 301);
    assert!(
        matches!(
            told[300],
            Notice::Done {
                total: Total::Checksum { valid: true, .. },
                ..
            }
        ),
        "{told:?}"
    );
    let Notice::Number { number, .. } = told[98] else {
        panic!("{told:?}")
    };
    let again = get(running.addr, session(300, Some(number)), within(Duration::from_secs(5))).await;
    assert_eq!(again[0], Notice::Resumed { key: 1, count: 99 });
    assert_eq!(again[1..], told[99..]);
    running.end().await;
}

#[tokio::test]
async fn a_stateless_stream_is_ended_by_our_client() {
    let running = start();
    let told = get(
        running.addr,
        StreamSpec::Stateless { n: 3, after: Some(5) },
        within(Duration::from_secs(5)),
    )
    .await;
    assert!(
        matches!(
            told.last(),
            Some(Notice::Done {
                total: Total::Sum(195),
                ..
            })
        ),
        "{told:?}"
    );
    running.end().await;
}

#[tokio::test]
async fn a_caller_that_has_finished_sending_gets_its_session_and_status_ok() {
    let running = start();
    let mut stream = call(running.addr).await;
    let start = Message::StartSession { uuid: UUID, n: 20 };
    stream.write_all(&requests(&[start])).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    // An error if the status is not OK.
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(replies(&bytes).len(), 21);
    running.end().await;
}

#[tokio::test]
async fn a_caller_acknowledges_the_end_of_its_session_by_closing() {
    for closes_in_order in [true, false] {
        let running = start();
        let mut stream = call(running.addr).await;
        let start = Message::StartSession { uuid: UUID, n: 3 };
        stream.write_all(&requests(&[start])).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(replies(&bytes).len(), 4, "all numbers, the checksum, and status OK");
        // Nothing that the server could see has happened: it waits.
        running.wait_for_calls_of_the_session(1).await;
        if closes_in_order {
            stream.shutdown().await.unwrap();
            running.wait_for_calls_of_the_session(0).await;
        }
        drop(stream);
        running.wait_for_calls_of_the_session(0).await;
        running.end().await;
    }
}

#[tokio::test]
async fn a_caller_that_finishes_without_asking_is_ended() {
    let running = start();
    let mut stream = call(running.addr).await;
    stream.write_all(&requests(&[Message::Continue(0)])).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(
        matches!(replies(&bytes)[..], [Message::Error(ErrorCode::BadNumber, _)]),
        "{bytes:?}"
    );
    running.end().await;
}

#[tokio::test]
async fn what_is_no_request_is_told_and_the_call_goes_on() {
    let running = start();
    let mut stream = call(running.addr).await;
    for wrong in [&b"\0\0\0\0\x01x"[..], b"\0\0\0\0\0"] {
        stream.write_all(wrong).await.unwrap();
    }
    stream.write_all(&requests(&[Message::End])).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let replies = replies(&answer);
    assert!(
        matches!(
            &replies[..],
            [
                Message::Error(ErrorCode::UnknownRequest, _),
                Message::Error(ErrorCode::UnknownRequest, _)
            ]
        ),
        "{replies:?}"
    );
    drop(stream);
    running.end().await;
}

#[tokio::test]
async fn a_call_that_ends_inside_a_message_is_told_so() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    let told = http.post(&path(), &[], &requests(&[Message::Start])[..6]).await;
    assert_eq!(told.code(), Code::Ok);
    assert!(
        matches!(&replies(&told.body)[..], [Message::Error(ErrorCode::Truncated, _)]),
        "{told:?}"
    );
    running.end().await;
}

#[tokio::test]
async fn a_call_that_is_broken_off_is_aborted() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    let mut asking = http.ask(&path(), &[]).await;
    asking.send(&requests(&[Message::Start]), false);
    let mut ours = call(running.addr).await;
    ours.write_all(&requests(&[Message::Start])).await.unwrap();
    running.wait_for_calls(2).await;
    running.driver.abort();
    assert_eq!(asking.told().await.code(), Code::Aborted);
    let mut rest = Vec::new();
    let error = ours.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(ours);
    running.serving.ended().await;
}

#[tokio::test]
async fn a_caller_that_leaves_after_it_has_finished_sending_is_noticed() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    for leaves in [
        |asking: PendingAnswer| drop(asking.body),
        |asking: PendingAnswer| drop(asking.response),
    ] {
        let mut asking = http.ask(&path(), &[]).await;
        asking.send(&requests(&[Message::Start]), true);
        running.wait_for_calls(1).await;
        leaves(asking);
        running.wait_for_calls(0).await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_leaves_its_session_for_later() {
    let running = start();
    let mut stream = call(running.addr).await;
    let start = Message::StartSession {
        uuid: UUID,
        n: u16::MAX,
    };
    stream.write_all(&requests(&[start])).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    running.wait_for_calls_of_the_session(0).await;
    running.end().await;
}
