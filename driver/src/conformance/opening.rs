//! How connections begin.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::{Case, Transport, expect, opened, write};
use crate::net::{BoxStream, Connector, Listener};

/// How many peers begin a handshake and stop.
const HALF_OPEN: usize = 20;

/// A future of `accept` that is dropped loses no connection: here each is polled once and dropped, while a client connects.
pub(super) async fn cancelled_accept<T: Transport>(transport: &T) -> Case {
    let (mut listener, connector) = transport.start().await.map_err(|error| error.to_string())?;
    let accepting = async {
        loop {
            let mut accept = Box::pin(listener.accept());
            let polled = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx))).await;
            drop(accept);
            if let Poll::Ready(incoming) = polled {
                let incoming = incoming.map_err(|error| format!("accept: {error}"))?;
                return incoming.finish().await.map_err(|error| format!("finish: {error}"));
            }
            // The sockets of the runtime become ready between two polls.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let dialling = async { connector.dial().await.map_err(|error| format!("dial: {error}")) };
    let ((_, mut accepted), (_, mut dialled)) = tokio::try_join!(biased; accepting, dialling)?;
    let message = transport.frame(b"hello");
    write(&mut dialled, &message).await?;
    expect(&mut accepted, &message).await?;
    Ok(true)
}

/// Peers that never finish their handshake delay no one.
pub(super) async fn endless_handshake<T: Transport>(transport: &T) -> Case {
    let (mut listener, connector) = transport.start().await.map_err(|error| error.to_string())?;
    let (mut stalled, mut negotiations) = (Vec::new(), Vec::new());
    for _ in 0..HALF_OPEN {
        let Some(begun) = transport.begin(&connector).await else {
            return Ok(false);
        };
        stalled.push(begun.map_err(|error| format!("begin: {error}"))?);
        let incoming = listener.accept().await.map_err(|error| format!("accept: {error}"))?;
        let mut negotiation = Box::pin(incoming.finish());
        let over = poll_fn(|cx| Poll::Ready(negotiation.as_mut().poll(cx).is_ready())).await;
        if over {
            return Err("a handshake that was not begun is over".to_owned());
        }
        negotiations.push(negotiation);
    }
    let (mut dialled, mut accepted) = opened(&mut listener, &connector).await?;
    let message = transport.frame(b"hello");
    write(&mut dialled, &message).await?;
    expect(&mut accepted, &message).await?;
    Ok(true)
}

/// Many connections, opened at the same time, are all accepted and work.
pub(super) async fn many<T: Transport>(transport: &T) -> Case {
    let (mut listener, connector) = transport.start().await.map_err(|error| error.to_string())?;
    let count = transport.connections();
    let accepting = async {
        let mut accepted = tokio::task::JoinSet::new();
        for _ in 0..count {
            let incoming = listener.accept().await.map_err(|error| format!("accept: {error}"))?;
            accepted.spawn(incoming.finish());
        }
        let mut streams = Vec::new();
        while let Some(result) = accepted.join_next().await {
            let (_, stream) = result
                .map_err(|error| error.to_string())?
                .map_err(|error| error.to_string())?;
            streams.push(Box::new(stream) as BoxStream);
        }
        Ok(streams)
    };
    let dialling = async {
        let connector = std::sync::Arc::new(connector);
        let mut dials = tokio::task::JoinSet::new();
        for number in 0..count {
            let connector = std::sync::Arc::clone(&connector);
            let message = transport.frame(&(number as u32).to_be_bytes());
            dials.spawn(async move {
                let (_, mut stream) = connector.dial().await.map_err(|error| format!("dial: {error}"))?;
                write(&mut stream, &message).await?;
                Ok::<_, String>((message, Box::new(stream) as BoxStream))
            });
        }
        let mut streams = Vec::new();
        while let Some(result) = dials.join_next().await {
            streams.push(result.map_err(|error| error.to_string())??);
        }
        Ok::<_, String>(streams)
    };
    let (accepted, dialled) = tokio::try_join!(biased; accepting, dialling)?;
    let mut expected: Vec<Vec<u8>> = dialled.iter().map(|(message, _)| message.clone()).collect();
    for mut stream in accepted {
        let mut message = vec![0; expected.first().map_or(0, Vec::len)];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut message)
            .await
            .map_err(|error| format!("read: {error}"))?;
        let at = expected.iter().position(|other| *other == message);
        expected.swap_remove(at.ok_or("a message of no connection, or one that came twice")?);
    }
    Ok(true)
}
