//! The program as people and scripts run it.

#![allow(clippy::unwrap_used)]

mod attempts;
mod chat;
mod echo;
mod hub;
mod numbers;
mod settings;
mod support;
