//! The record of a firing, kept in the bucket at `sites/<site>/schedule/<name>`: what was missed while no process ran
//! is seen by it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ScheduleError;

/// Version of the encoding. A reader refuses what is newer than itself.
const VERSION: u32 = 1;

/// The last firing of a schedule whose run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// The moment at which it was due.
    pub due: Timestamp,
    /// The moment at which its run ended.
    pub done: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    due: Timestamp,
    done: Timestamp,
}

impl Fired {
    /// The encoding: JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::json!({ "version": VERSION, "due": self.due, "done": self.done }).to_string().into_bytes()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ScheduleError::Record`]; the schedule is then best treated as one that has never fired.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, ScheduleError> {
        let failed = |problem: String| ScheduleError::Record { name: name.to_owned(), problem };
        let record: Record = serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
        if record.version != VERSION {
            return Err(failed(format!("version {} is not known to this program", record.version)));
        }
        Ok(Self { due: record.due, done: record.done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_refuses_what_it_does_not_know() {
        let fired = Fired {
            due: "2026-11-23T18:00:00Z".parse().unwrap(),
            done: "2026-11-23T18:00:01.25Z".parse().unwrap(),
        };
        let bytes = fired.to_bytes();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"done":"2026-11-23T18:00:01.25Z","due":"2026-11-23T18:00:00Z","version":1}"#
        );
        assert_eq!(Fired::from_bytes("x", &bytes).unwrap(), fired);
        for bad in
            [&b"{}"[..], b"", br#"{"done":"2026-11-23T18:00:01Z","due":"2026-11-23T18:00:00Z","version":2}"#]
        {
            assert!(Fired::from_bytes("x", bad).is_err());
        }
    }
}
