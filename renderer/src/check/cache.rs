//! What other hosts answered, kept between checks: in one file, of which nothing depends on its being there.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::outside::Verdict;

/// How long a good answer is believed, in seconds: three days.
const GOOD_SECONDS: i64 = 3 * 86_400;
/// How long any other is, in seconds: long enough to mend a page and check again without asking everyone anew.
const BAD_SECONDS: i64 = 600;
/// Answers that are kept.
const ANSWERS_MAX: usize = 50_000;
/// Bytes of the largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The version of the file that is written and read.
const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    /// Seconds since 1970.
    at: i64,
    verdict: Verdict,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    answers: HashMap<String, Answer>,
}

/// Answers by address.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<String, Answer>);

impl Cache {
    /// Reads the file; one that is not there, too large or not ours is as good as empty.
    pub(super) fn read(path: &Path) -> Self {
        let short = std::fs::metadata(path).is_ok_and(|meta| meta.len() <= FILE_BYTES_MAX);
        let file = short.then(|| std::fs::read(path).ok()).flatten();
        let file: Option<File> = file.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self(file.filter(|file| file.version == VERSION).map(|file| file.answers).unwrap_or_default())
    }

    /// The answer of an address, if it is still believed.
    pub(super) fn get(&self, url: &str, now: i64) -> Option<&Verdict> {
        self.0.get(url).filter(|answer| answer.is_fresh(now)).map(|answer| &answer.verdict)
    }

    pub(super) fn put(&mut self, url: &str, verdict: Verdict, now: i64) {
        self.0.insert(url.to_owned(), Answer { at: now, verdict });
    }

    /// Writes the file as a whole, without what is not believed any more.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn write(mut self, path: &Path, now: i64) -> std::io::Result<()> {
        self.0.retain(|_, answer| answer.is_fresh(now));
        if self.0.len() > ANSWERS_MAX {
            let mut times: Vec<i64> = self.0.values().map(|answer| answer.at).collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            let oldest = times[ANSWERS_MAX - 1];
            self.0.retain(|_, answer| answer.at >= oldest);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let beside = folder.join(format!(".links.{}", std::process::id()));
        // Addresses may hold what only their reader should know.
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create(true).truncate(true).open(&beside)?;
        let bytes = serde_json::to_vec(&File { version: VERSION, answers: self.0 })?;
        let written = file.write_all(&bytes).and_then(|()| std::fs::rename(&beside, path));
        if written.is_err() {
            // What was begun is of no use to anyone.
            drop(std::fs::remove_file(&beside));
        }
        written
    }
}

impl Answer {
    fn is_fresh(&self, now: i64) -> bool {
        let kept = if matches!(self.verdict, Verdict::Good { .. }) { GOOD_SECONDS } else { BAD_SECONDS };
        (0..kept).contains(&(now - self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_believed_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/links.json");
        assert!(Cache::read(&path).0.is_empty());
        let mut cache = Cache::default();
        cache.put(
            "https://good.example/",
            Verdict::Good { moved: None, has: vec!["x".into()], lacks: vec![] },
            1_000,
        );
        cache.put("https://bad.example/", Verdict::Broken("answers 404".into()), 1_000);
        cache.write(&path, 1_000).unwrap();
        let cache = Cache::read(&path);
        assert!(cache.get("https://bad.example/", 1_000 + BAD_SECONDS - 1).is_some());
        assert!(cache.get("https://bad.example/", 1_000 + BAD_SECONDS).is_none());
        assert!(cache.get("https://good.example/", 1_000 + GOOD_SECONDS - 1).is_some());
        // A clock that was set back makes no answer good for ever.
        assert!(cache.get("https://good.example/", 999).is_none());
        cache.write(&path, 1_000 + BAD_SECONDS).unwrap();
        assert_eq!(Cache::read(&path).0.len(), 1);
        std::fs::write(&path, "{\"version\":2,\"answers\":{}}").unwrap();
        assert!(Cache::read(&path).0.is_empty());
    }
}
