//! The program as people and scripts run it.

#![allow(clippy::unwrap_used)]

mod chat;
mod echo;
mod hub;
mod numbers;
mod prompts;
mod pty;
mod settings;
mod stderr;
mod support;
