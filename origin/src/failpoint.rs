//! Points at which a test can pause or kill a publish, in the order in which a publish passes them:
//!
//! | name | where |
//! | --- | --- |
//! | `publish::begin` | the base is known, nothing has been rendered |
//! | `publish::before_blob`, `publish::after_blob` | around the upload of each blob |
//! | `publish::before_node`, `publish::after_node` | around the upload of each node of a tree |
//! | `publish::before_record`, `publish::after_record` | around the upload of the release record |
//! | `publish::uploaded` | everything is in the bucket, nothing is committed |
//! | `journal::before_create`, `journal::after_create` | around the creation of a journal entry |
//! | `journal::before_checkpoint` | a checkpoint is due |
//!
//! They exist where the feature `failpoints` is on, which no release build has. `FAILPOINTS` in the
//! environment sets them, for instance `publish::uploaded=pause`, once the program has called
//! `fail::FailScenario::setup`.

/// Stops here if a test says so.
macro_rules! failpoint {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    }};
}

pub(crate) use failpoint;
