//! Seeded simulation of Echosphere.
