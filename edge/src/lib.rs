//! `edge`.
