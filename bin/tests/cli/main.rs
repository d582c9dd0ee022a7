//! The program as people and scripts run it.

#![allow(clippy::unwrap_used)]

mod attempts;
mod chat;
mod delivery;
mod echo;
mod exit_codes;
mod hub;
mod input;
mod json;
mod loads;
mod numbers;
mod partial;
mod progress;
mod prompts;
mod pty;
mod settings;
mod shards;
mod stderr;
mod support;
mod tls;
mod ws;
