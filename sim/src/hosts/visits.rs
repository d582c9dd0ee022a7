//! Strangers on turmoil's network: peers that speak no protocol. The link of their host has no faults.

use std::future::pending;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turmoil::net::TcpStream;

use super::{Hosts, SERVER, now};
use crate::marks::Mark;
use crate::net::PORT;
use crate::oracle::System;
use crate::scenario::LINK;
use crate::strangers::{Stranger, StrangerKind};

/// The name of the host that strangers come from.
pub(crate) const STRANGERS: &str = "strangers";

impl<S: System> Hosts<S> {
    /// What the host of strangers runs.
    pub(crate) async fn visit(self) -> turmoil::Result {
        for &(at, kind) in &self.scenario.strangers {
            let hosts = self.clone();
            tokio::task::spawn_local(async move {
                sleep(at.saturating_sub(now())).await;
                hosts.marks.hit(Mark::Stranger);
                let result = hosts.visit_once(kind).await;
                hosts.lock().check(now(), result);
            });
        }
        pending().await
    }

    async fn visit_once(&self, kind: StrangerKind) -> Result<(), String> {
        let (since, server) = (now(), self.lock().server_life());
        let Ok(mut stream) = TcpStream::connect((SERVER, PORT)).await else {
            return Ok(());
        };
        let link = self.system.link(self.scenario.link);
        let mut stranger = Stranger::new::<S>(kind, &link);
        // A refused stranger may find the connection gone.
        let _ = stream.write_all(stranger.says()).await;
        if stranger.ends() {
            let _ = stream.shutdown().await;
        }
        let mut buffer = [0; 4096];
        let ended = loop {
            match stream.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(len) => {
                    let age = now() - since;
                    let note = stranger.hear(&buffer[..len], age, link.handshake_timeout, &self.marks)?;
                    if let Some(note) = note {
                        self.lock().trace.note(now(), &note);
                    }
                }
                Err(error) => break Err(stranger.wrong(&format!("and then reset, {error}"))),
            }
        };
        // A server that is gone sends nothing. A full one does not wait until it can, and one that negotiates cannot.
        let dropped = link.max_connections < LINK.max_connections || self.scenario.chop.negotiation > 0.0;
        if dropped && stranger.is_told_nothing() || self.lock().server_life() != server {
            return Ok(());
        }
        if stranger.is_turned_away() {
            // Unread bytes may have reset the connection.
            return stranger.check(true);
        }
        ended.and_then(|()| stranger.check(false))
    }
}
