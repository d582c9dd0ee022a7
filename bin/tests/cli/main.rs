//! The program as people and scripts run it.

#![allow(clippy::unwrap_used)]

mod echo;
mod hub;
mod settings;
mod support;
