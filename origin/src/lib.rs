//! `origin`.
