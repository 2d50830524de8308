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
//! They exist where the feature `failpoints` is on, which no release build has. The program asks for
//! a pause by [`pause_at`]; the crate `fail` has other ways, for tests in this process.

/// Stops here if a test says so.
macro_rules! failpoint {
    ($name:literal) => {{
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    }};
}

pub(crate) use failpoint;

/// Those that every publish passes, in order.
pub const OF_A_PUBLISH: [&str; 10] = [
    "publish::begin",
    "publish::before_blob",
    "publish::after_blob",
    "publish::before_node",
    "publish::after_node",
    "publish::before_record",
    "publish::after_record",
    "publish::uploaded",
    "journal::before_create",
    "journal::after_create",
];

/// Makes every thread that comes to a point stop there for good, having said so on standard error:
/// then whoever watches may kill the process.
///
/// # Errors
/// Where the point cannot be set.
#[cfg(feature = "failpoints")]
pub fn pause_at(point: &str) -> Result<(), String> {
    let name = point.to_owned();
    fail::cfg_callback(point, move || {
        eprintln!("paused at {name}");
        loop {
            std::thread::park();
        }
    })
}
