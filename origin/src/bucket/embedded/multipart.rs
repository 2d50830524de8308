//! Multipart uploads: a folder each, with what was said at the start and a file a part, until they are completed
//! or aborted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::dto::CompletedPart;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::answer::to_s3;
use super::folder::{self, Condition, FolderStore, StoreError, Temp};
use super::object::{Fields, Meta, Object};
use super::receive::{self, from_base64};

/// S3's limits of a part's number and of every part's size but the last one's.
pub(super) const PART_NUMBER_MAX: i32 = 10_000;
const PART_BYTES_MIN: u64 = 5 << 20;

/// What an upload will become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) started_ms: i64,
    pub(super) fields: Fields,
    /// As the client asked: algorithm and type of the checksums of the parts.
    pub(super) algorithm: Option<String>,
    pub(super) checksum_type: Option<String>,
}

/// A part that was received.
#[derive(Debug)]
pub(super) struct StoredPart {
    pub(super) number: i32,
    pub(super) object: Object,
}

/// What a completion says of the whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) parts: Vec<CompletedPart>,
    pub(super) size: Option<i64>,
    /// Base64 by algorithm, of all bytes. (Checksums of checksums come with a `-N`.)
    pub(super) checksums: BTreeMap<String, String>,
}

impl FolderStore {
    fn upload_folder(&self, id: &str) -> Result<PathBuf, StoreError> {
        let is_ours = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let folder = self.uploads().join(id);
        if is_ours && folder.is_dir() { Ok(folder) } else { Err(StoreError::NoSuchUpload(id.to_owned())) }
    }

    /// Starts an upload; its id is the answer.
    pub(super) fn start_upload(&self, upload: &Upload) -> Result<String, StoreError> {
        self.bucket(&upload.bucket)?;
        let id = folder::random_id();
        // Made elsewhere and moved, so that an upload is never there without its description.
        let made = self.temp_path();
        fs::create_dir(&made).map_err(StoreError::io("create the folder", &made))?;
        let path = made.join("upload.json");
        let text = serde_json::to_vec(upload)
            .map_err(|error| StoreError::io("write", &path)(io::Error::other(error)))?;
        fs::write(&path, text).map_err(StoreError::io("write", &path))?;
        File::open(&path).and_then(|file| file.sync_data()).map_err(StoreError::io("sync", &path))?;
        folder::sync_folder(&made)?;
        let folder = self.uploads().join(&id);
        fs::rename(&made, &folder).map_err(StoreError::io("create the folder", &folder))?;
        folder::sync_folder(&self.uploads())?;
        Ok(id)
    }

    /// The upload with this id, if it is for that bucket and key.
    pub(super) fn upload(&self, id: &str, bucket: &str, key: &str) -> Result<Upload, StoreError> {
        let unknown = || StoreError::NoSuchUpload(id.to_owned());
        let path = self.upload_folder(id)?.join("upload.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let upload: Upload = serde_json::from_slice(&text)
            .map_err(|error| StoreError::io("read", &path)(io::Error::other(error)))?;
        if upload.bucket == bucket && upload.key == key { Ok(upload) } else { Err(unknown()) }
    }

    /// Stores a part, in place of an earlier one of that number.
    pub(super) fn put_part(&self, id: &str, number: i32, temp: Temp, meta: &Meta) -> Result<(), StoreError> {
        let folder = self.upload_folder(id)?;
        temp.finish(meta)?;
        let path = folder.join(part_name(number));
        match fs::rename(temp.path(), &path) {
            Ok(()) => folder::sync_folder(&folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NoSuchUpload(id.to_owned()))
            }
            Err(source) => Err(StoreError::Io { action: "write the part", path, source }),
        }
    }

    /// The parts of an upload by number.
    pub(super) fn parts(&self, id: &str) -> Result<Vec<StoredPart>, StoreError> {
        let folder = self.upload_folder(id)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let name = entry.map_err(StoreError::io("list", &folder))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("part-")).map(str::parse::<i32>);
            if let Some(Ok(number)) = number {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.part(id, number)).collect()
    }

    fn part(&self, id: &str, number: i32) -> Result<StoredPart, StoreError> {
        let path = self.upload_folder(id)?.join(part_name(number));
        let object = File::open(&path)
            .and_then(|file| Object::read(file, 0))
            .map_err(StoreError::io("read the part", &path))?;
        Ok(StoredPart { number, object })
    }

    /// All uploads of a bucket by key and id.
    pub(super) fn all_uploads(&self, bucket: &str) -> Result<Vec<(String, Upload)>, StoreError> {
        self.bucket(bucket)?;
        let folder = self.uploads();
        let mut uploads = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            let (Ok(id), Ok(text)) =
                (entry.file_name().into_string(), fs::read(entry.path().join("upload.json")))
            else {
                continue; // Completed or aborted at this moment.
            };
            let path = entry.path();
            let upload: Upload = serde_json::from_slice(&text)
                .map_err(|error| StoreError::io("read", &path)(io::Error::other(error)))?;
            if upload.bucket == bucket {
                uploads.push((id, upload));
            }
        }
        uploads.sort_by(|(a_id, a), (b_id, b)| (&a.key, a_id).cmp(&(&b.key, b_id)));
        Ok(uploads)
    }

    /// Removes an upload and its parts.
    pub(super) fn remove_upload(&self, id: &str) -> Result<(), StoreError> {
        let folder = self.upload_folder(id)?;
        // Out of sight at once and as a whole; what is left by a crash is removed at the next start.
        let doomed = self.temp_path();
        fs::rename(&folder, &doomed).map_err(StoreError::io("remove", &folder))?;
        folder::sync_folder(&self.uploads())?;
        fs::remove_dir_all(&doomed).map_err(StoreError::io("remove", &doomed))
    }

    /// Makes the parts one object; its meta is the answer.
    pub(super) fn complete(
        &self,
        id: &str,
        upload: &Upload,
        whole: &Whole,
        condition: &Condition,
        now_ms: i64,
    ) -> S3Result<Meta> {
        let parts = self.chosen_parts(id, &whole.parts)?;
        let size: u64 = parts.iter().map(|part| part.object.size).sum();
        if size > self.limits().object_bytes_max {
            return Err(S3ErrorCode::EntityTooLarge.into());
        }
        if whole.size.is_some_and(|expected| expected as u64 != size) {
            return Err(s3_error!(InvalidRequest, "the parts have {size} bytes, not as many as was said"));
        }
        let mut etags = Md5::new();
        let mut temp = self.temp().map_err(to_s3)?;
        let mut hasher = ChecksumHasher::default();
        let claimed: Vec<_> = whole.checksums.iter().filter(|(_, value)| !value.contains('-')).collect();
        for (algorithm, _) in &claimed {
            receive::start(&mut hasher, algorithm);
        }
        for part in &parts {
            let digest = (0..part.object.meta.etag.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(part.object.meta.etag.get(at..at + 2).unwrap_or("x"), 16))
                .collect::<Result<Vec<u8>, _>>()
                .map_err(S3Error::internal_error)?;
            etags.update(&digest);
            append(&part.object, 0, part.object.size, &mut temp, |bytes| hasher.update(bytes))
                .map_err(to_s3)?;
        }
        let computed = receive::by_algorithm(hasher.finalize());
        for (algorithm, value) in claimed {
            if computed.get(algorithm) != Some(value) {
                return Err(s3_error!(BadDigest, "the {algorithm} of the whole object did not match"));
            }
        }
        let etag: String = etags.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let meta = Meta {
            etag: format!("{etag}-{}", parts.len()),
            modified_ms: now_ms,
            fields: upload.fields.clone(),
            checksums: computed,
        };
        self.commit(temp, &meta, &upload.bucket, &upload.key, condition).map_err(to_s3)?;
        match self.remove_upload(id) {
            // Another completion or an abortion of the same upload came first: the object is there all the same.
            Err(StoreError::NoSuchUpload(_)) => {}
            Err(error) => tracing::warn!(%error, "cannot remove the parts of a completed upload"),
            Ok(()) => {}
        }
        Ok(meta)
    }

    fn chosen_parts(&self, id: &str, chosen: &[CompletedPart]) -> S3Result<Vec<StoredPart>> {
        if chosen.is_empty() {
            return Err(s3_error!(MalformedXML, "an upload is completed with at least one part"));
        }
        self.upload_folder(id).map_err(to_s3)?;
        let mut parts: Vec<StoredPart> = Vec::with_capacity(chosen.len());
        for wanted in chosen {
            let number =
                wanted.part_number.ok_or_else(|| s3_error!(MalformedXML, "a part without a number"))?;
            if parts.last().is_some_and(|last| last.number >= number) {
                return Err(s3_error!(InvalidPartOrder, "the parts are not in ascending order"));
            }
            let invalid = || s3_error!(InvalidPart, "part {number} was not uploaded, or has another ETag");
            let part = self.part(id, number).map_err(|_| invalid())?;
            let claimed = [
                ("crc32", &wanted.checksum_crc32),
                ("crc32c", &wanted.checksum_crc32c),
                ("crc64nvme", &wanted.checksum_crc64nvme),
                ("sha1", &wanted.checksum_sha1),
                ("sha256", &wanted.checksum_sha256),
            ];
            let differs = claimed.iter().any(|(algorithm, value)| {
                let known = part.object.meta.checksums.get(*algorithm);
                value.as_ref().is_some_and(|value| {
                    from_base64(value).is_none() || known.is_some_and(|known| known != value)
                })
            });
            let etag = wanted.e_tag.as_ref().map(s3s::dto::ETag::value);
            if differs || etag.is_some_and(|etag| etag.trim_matches('"') != part.object.meta.etag) {
                return Err(invalid());
            }
            parts.push(part);
        }
        let mut before = parts.iter().take(chosen.len() - 1);
        if let Some(small) = before.find(|part| part.object.size < PART_BYTES_MIN) {
            return Err(s3_error!(
                EntityTooSmall,
                "part {} has {} bytes: all but the last need {PART_BYTES_MIN}",
                small.number,
                small.object.size
            ));
        }
        Ok(parts)
    }
}

fn part_name(number: i32) -> String {
    format!("part-{number:05}")
}

/// Appends some bytes of an object's body to a file.
pub(super) fn append(
    object: &Object,
    start: u64,
    length: u64,
    temp: &mut Temp,
    mut see: impl FnMut(&[u8]),
) -> Result<(), StoreError> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0; 256 * 1024];
    let (mut at, end) = (start, start + length);
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let bytes = &mut buffer[..want];
        object.file.read_exact_at(bytes, at).map_err(StoreError::io("read", temp.path()))?;
        see(bytes);
        temp.write(bytes)?;
        at += want as u64;
    }
    Ok(())
}
