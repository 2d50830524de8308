//! `renderer`.
