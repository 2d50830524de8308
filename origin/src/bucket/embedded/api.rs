//! S3's operations on the folder: what a request means, and which error AWS would answer.

use std::collections::BTreeMap;

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::answer::{
    blocking, etag, milliseconds, not_implemented, now_ms, owner, seconds, timestamp, to_s3,
};
use super::folder::{Condition, FolderStore};
use super::multipart::{self, Upload, Whole};
use super::object::{Fields, Meta, Object};
use super::pages::{OwnedQuery, after_marker, from_token, is_url, lines, page_max, to_token, url_encoded};
use super::read::{body, check_copy, check_read, range};
use super::receive::{self, Claims, receive};

/// Objects up to this size are read in one piece, together with their meta.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;
/// S3's bound of names and values of user metadata.
const USER_METADATA_BYTES_MAX: usize = 2048;
/// S3's bound of one DeleteObjects.
const DELETE_KEYS_MAX: usize = 1000;

/// S3 over a [`FolderStore`].
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) store: FolderStore,
}

/// The condition of a write. S3 knows `If-None-Match: *` and `If-Match` with an ETag.
fn condition(if_match: Option<IfMatch>, if_none_match: Option<IfNoneMatch>) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (None, Some(ETagCondition::ETag(_))) => Err(not_implemented("If-None-Match with an ETag on a write")),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(etag.into_value())),
        (Some(_), Some(_)) => Err(not_implemented("If-Match together with If-None-Match")),
    }
}

/// The fields of a request that make up an object's meta, of whichever operation.
macro_rules! fields_of {
    ($input:expr) => {
        fields(Fields {
            content_type: $input.content_type,
            cache_control: $input.cache_control,
            content_disposition: $input.content_disposition,
            content_encoding: content_encoding($input.content_encoding),
            content_language: $input.content_language,
            expires_ms: $input.expires.as_ref().map(milliseconds),
            website_redirect_location: $input.website_redirect_location,
            user: $input.metadata.unwrap_or_default().into_iter().collect(),
        })
    };
}

/// Refuses what would otherwise be dropped without a word.
macro_rules! refuse_unsupported {
    ($input:expr) => {
        if $input.sse_customer_algorithm.is_some() || $input.server_side_encryption.is_some() {
            return Err(not_implemented("encryption by the server"));
        }
        if $input.tagging.is_some() {
            return Err(not_implemented("tagging"));
        }
        if $input.object_lock_mode.is_some() || $input.object_lock_legal_hold_status.is_some() {
            return Err(not_implemented("object lock"));
        }
        if $input.acl.as_ref().is_some_and(|acl| acl.as_str() != ObjectCannedACL::PRIVATE) {
            return Err(s3_error!(AccessControlListNotSupported, "this store knows private objects only"));
        }
        if $input.storage_class.as_ref().is_some_and(|class| class.as_str() != StorageClass::STANDARD) {
            return Err(s3_error!(InvalidStorageClass, "this store has the class STANDARD only"));
        }
    };
}

/// Refuses reads of what this store does not have.
macro_rules! refuse_special_read {
    ($input:expr) => {
        if $input.version_id.is_some()
            || $input.part_number.is_some()
            || $input.sse_customer_algorithm.is_some()
        {
            return Err(not_implemented("a version, part or key of its own in a read"));
        }
    };
}

/// The answer to a read, with or without the content: two types that have the same fields. With it come
/// the bytes that it is about.
macro_rules! read {
    ($Output:ident, $input:expr, $meta:expr, $size:expr) => {{
        check_read(
            &$meta,
            $input.if_match.as_ref(),
            $input.if_unmodified_since.as_ref(),
            $input.if_none_match.as_ref(),
            $input.if_modified_since.as_ref(),
        )?;
        let size = $size;
        let part = range($input.range, size)?;
        let content_range = part.as_ref().map(|part| format!("bytes {}-{}/{size}", part.start, part.end - 1));
        // Of a range there is no checksum.
        let with_checksums = $input.checksum_mode.is_some() && part.is_none();
        let checksums = if with_checksums { $meta.checksums.clone() } else { BTreeMap::new() };
        let bytes = part.unwrap_or(0..size);
        let output = $Output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(i64::try_from(bytes.end - bytes.start).unwrap_or(i64::MAX)),
            content_range,
            e_tag: etag(&$meta),
            last_modified: Some(timestamp($meta.modified_ms)),
            checksum_crc32: checksum_of(&checksums, "crc32"),
            checksum_crc32c: checksum_of(&checksums, "crc32c"),
            checksum_crc64nvme: checksum_of(&checksums, "crc64nvme"),
            checksum_sha1: checksum_of(&checksums, "sha1"),
            checksum_sha256: checksum_of(&checksums, "sha256"),
            checksum_type: (!checksums.is_empty())
                .then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            content_type: Some($meta.fields.content_type.unwrap_or_else(|| "binary/octet-stream".to_owned())),
            cache_control: $meta.fields.cache_control,
            content_disposition: $meta.fields.content_disposition,
            content_encoding: $meta.fields.content_encoding,
            content_language: $meta.fields.content_language,
            expires: $meta.fields.expires_ms.map(timestamp),
            website_redirect_location: $meta.fields.website_redirect_location,
            metadata: Some($meta.fields.user.into_iter().collect()),
            ..Default::default()
        };
        (output, bytes)
    }};
}

fn fields(fields: Fields) -> S3Result<Fields> {
    let bytes: usize = fields.user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > USER_METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "user metadata has {bytes} bytes, of {USER_METADATA_BYTES_MAX}"
        ));
    }
    Ok(fields)
}

/// `aws-chunked` is how the body came, not what the object is.
fn content_encoding(value: Option<String>) -> Option<String> {
    let codings: Vec<String> = value?
        .split(',')
        .map(|coding| coding.trim().to_owned())
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!codings.is_empty()).then(|| codings.join(","))
}

fn source(copy_source: &CopySource) -> S3Result<(String, String)> {
    match copy_source {
        CopySource::Bucket { bucket, key, version_id: None } => Ok((bucket.to_string(), key.to_string())),
        CopySource::Bucket { .. } => Err(not_implemented("a version of an object")),
        _ => Err(not_implemented("a source that is no bucket")),
    }
}

fn checksum_of(checksums: &BTreeMap<String, String>, algorithm: &str) -> Option<String> {
    checksums.get(algorithm).cloned()
}

#[async_trait::async_trait]
impl S3 for Api {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let store = self.store.clone();
        let buckets = blocking(move || store.buckets().map_err(to_s3)).await?;
        let prefix = req.input.prefix;
        let buckets = buckets
            .into_iter()
            .filter(|(name, _)| prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix)))
            .map(|(name, changed)| Bucket {
                name: Some(name),
                creation_date: Some(Timestamp::from(changed)),
                ..Default::default()
            })
            .collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            owner: owner(),
            ..Default::default()
        }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let (store, bucket) = (self.store.clone(), req.input.bucket);
        let location = format!("/{bucket}");
        if blocking(move || store.create_bucket(&bucket).map_err(to_s3)).await? {
            Ok(S3Response::new(CreateBucketOutput { location: Some(location) }))
        } else {
            Err(S3ErrorCode::BucketAlreadyOwnedByYou.into())
        }
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let (store, bucket) = (self.store.clone(), req.input.bucket);
        if blocking(move || store.delete_bucket(&bucket).map_err(to_s3)).await? {
            Ok(S3Response::new(DeleteBucketOutput::default()))
        } else {
            Err(S3ErrorCode::BucketNotEmpty.into())
        }
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let (store, bucket) = (self.store.clone(), req.input.bucket);
        blocking(move || store.bucket(&bucket).map_err(to_s3)).await?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some("us-east-1".to_owned()),
            ..Default::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let (store, bucket) = (self.store.clone(), req.input.bucket);
        blocking(move || store.bucket(&bucket).map_err(to_s3)).await?;
        // us-east-1 is the empty one.
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let (store, bucket) = (self.store.clone(), req.input.bucket);
        blocking(move || store.bucket(&bucket).map_err(to_s3)).await?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request { input, headers, trailing_headers, .. } = req;
        refuse_unsupported!(input);
        if input.write_offset_bytes.is_some() {
            return Err(not_implemented("appending"));
        }
        let condition = condition(input.if_match, input.if_none_match)?;
        let claims = Claims::of(&headers, trailing_headers, input.content_length, input.content_md5)?;
        let fields = fields_of!(input)?;
        let (bucket, key) = (input.bucket, input.key);
        let (size, meta) = receive(self.store.clone(), input.body, claims, move |store, received| {
            let meta =
                Meta { etag: received.md5, modified_ms: now_ms(), fields, checksums: received.checksums };
            store.commit(received.temp, &meta, &bucket, &key, &condition).map_err(to_s3)?;
            Ok((received.size, meta))
        })
        .await?;
        let checksums = &meta.checksums;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: etag(&meta),
            checksum_crc32: checksum_of(checksums, "crc32"),
            checksum_crc32c: checksum_of(checksums, "crc32c"),
            checksum_crc64nvme: checksum_of(checksums, "crc64nvme"),
            checksum_sha1: checksum_of(checksums, "sha1"),
            checksum_sha256: checksum_of(checksums, "sha256"),
            checksum_type: (!checksums.is_empty())
                .then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            size: Some(i64::try_from(size).unwrap_or(i64::MAX)),
            ..Default::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        refuse_special_read!(input);
        let (store, bucket, key) = (self.store.clone(), input.bucket, input.key);
        let object = blocking(move || store.get(&bucket, &key, WHOLE_BYTES_MAX).map_err(to_s3)).await?;
        let (meta, size) = (object.meta.clone(), object.size);
        let (mut output, bytes) = read!(GetObjectOutput, input, meta, size);
        output.body = Some(body(object, bytes));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        refuse_special_read!(input);
        let (store, bucket, key) = (self.store.clone(), input.bucket, input.key);
        let (size, meta) = blocking(move || {
            let object = store.get(&bucket, &key, 0).map_err(to_s3)?;
            Ok((object.size, object.meta))
        })
        .await?;
        let (output, _) = read!(HeadObjectOutput, input, meta, size);
        let is_part = output.content_range.is_some();
        let mut response = S3Response::new(output);
        response.status = is_part.then_some(StatusCode::PARTIAL_CONTENT);
        Ok(response)
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        refuse_unsupported!(input);
        let (source_bucket, source_key) = source(&input.copy_source)?;
        let replace = input
            .metadata_directive
            .as_ref()
            .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        if !replace && source_bucket == input.bucket && source_key == input.key {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata."
            ));
        }
        let fields = fields_of!(input)?;
        let store = self.store.clone();
        let (bucket, key) = (input.bucket, input.key);
        let (if_match, if_none_match) = (input.copy_source_if_match, input.copy_source_if_none_match);
        let (if_modified, if_unmodified) =
            (input.copy_source_if_modified_since, input.copy_source_if_unmodified_since);
        let meta = blocking(move || {
            let object = store.get(&source_bucket, &source_key, 0).map_err(to_s3)?;
            check_copy(
                &object.meta,
                if_match.as_ref(),
                if_unmodified.as_ref(),
                if_none_match.as_ref(),
                if_modified.as_ref(),
            )?;
            let mut temp = store.temp().map_err(to_s3)?;
            multipart::append(&object, 0, object.size, &mut temp, |_| {}).map_err(to_s3)?;
            let mut meta = object.meta;
            meta.modified_ms = now_ms();
            if replace {
                meta.fields = fields;
            }
            store.commit(temp, &meta, &bucket, &key, &Condition::None).map_err(to_s3)?;
            Ok(meta)
        })
        .await?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: etag(&meta),
                last_modified: Some(timestamp(meta.modified_ms)),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        if input.version_id.is_some() {
            return Err(not_implemented("a version of an object"));
        }
        let (modified, size) = (input.if_match_last_modified_time, input.if_match_size);
        let mut condition = condition(input.if_match, None)?;
        if condition == Condition::None && (modified.is_some() || size.is_some()) {
            condition = Condition::Present;
        }
        let (store, bucket, key) = (self.store.clone(), input.bucket, input.key);
        blocking(move || {
            let matches = |object: &Object| {
                modified.is_none_or(|time| seconds(&time) == object.meta.modified_ms.div_euclid(1000))
                    && size.is_none_or(|size| u64::try_from(size).is_ok_and(|size| size == object.size))
            };
            store.delete(&bucket, &key, &condition, matches).map_err(to_s3)
        })
        .await?;
        Ok(S3Response::with_status(DeleteObjectOutput::default(), StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = req.input;
        if input.delete.objects.len() > DELETE_KEYS_MAX {
            return Err(s3_error!(MalformedXML, "at most {DELETE_KEYS_MAX} keys are deleted at once"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let (store, bucket) = (self.store.clone(), input.bucket);
        let (deleted, errors) = blocking(move || {
            store.bucket(&bucket).map_err(to_s3)?;
            let (mut deleted, mut errors) = (Vec::new(), Vec::new());
            for object in input.delete.objects {
                let outcome = if object.version_id.is_some() {
                    Err(not_implemented("a version of an object"))
                } else {
                    let condition = match object.e_tag {
                        Some(etag) => Condition::Etag(etag.into_value()),
                        None => Condition::None,
                    };
                    store.delete(&bucket, &object.key, &condition, |_| true).map_err(to_s3)
                };
                match outcome {
                    Ok(()) if quiet => {}
                    Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
                    Err(error) => errors.push(s3s::dto::Error {
                        code: Some(error.code().as_str().to_owned()),
                        message: error.message().map(str::to_owned),
                        key: Some(object.key),
                        version_id: None,
                    }),
                }
            }
            Ok((deleted, errors))
        })
        .await?;
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let url = is_url(input.encoding_type.as_ref())?;
        let max = page_max(input.max_keys)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimiter = input.delimiter.clone().unwrap_or_default();
        let from = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => from_token(token)?,
            (None, Some(after)) if !after.is_empty() => after_marker(after, &prefix, &delimiter),
            _ => Vec::new(),
        };
        let query = OwnedQuery { prefix, delimiter, from, max: max as usize, url };
        let lines =
            lines(self.store.clone(), input.bucket.clone(), query, input.fetch_owner.unwrap_or(false))
                .await?;
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(url_encoded(url, input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| url_encoded(url, delimiter)),
            start_after: input.start_after.map(|after| url_encoded(url, after)),
            encoding_type: input.encoding_type,
            max_keys: Some(max),
            key_count: Some((lines.contents.len() + lines.prefixes.len()) as i32),
            continuation_token: input.continuation_token,
            is_truncated: Some(lines.next.is_some()),
            next_continuation_token: lines.next.as_deref().map(to_token),
            contents: Some(lines.contents),
            common_prefixes: (!lines.prefixes.is_empty()).then_some(lines.prefixes),
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let url = is_url(input.encoding_type.as_ref())?;
        let max = page_max(input.max_keys)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let delimiter = input.delimiter.clone().unwrap_or_default();
        let from = match &input.marker {
            Some(marker) if !marker.is_empty() => after_marker(marker, &prefix, &delimiter),
            _ => Vec::new(),
        };
        let has_delimiter = !delimiter.is_empty();
        let query = OwnedQuery { prefix, delimiter, from, max: max as usize, url };
        let lines = lines(self.store.clone(), input.bucket.clone(), query, true).await?;
        let truncated = lines.next.is_some();
        // Without a delimiter, the last key is the next marker, and S3 does not repeat it.
        let next_marker =
            lines.last.filter(|_| truncated && has_delimiter).map(|last| url_encoded(url, last));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(url_encoded(url, input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|delimiter| url_encoded(url, delimiter)),
            marker: Some(url_encoded(url, input.marker.unwrap_or_default())),
            encoding_type: input.encoding_type,
            max_keys: Some(max),
            is_truncated: Some(truncated),
            next_marker,
            contents: Some(lines.contents),
            common_prefixes: (!lines.prefixes.is_empty()).then_some(lines.prefixes),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        refuse_unsupported!(input);
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            started_ms: now_ms(),
            algorithm: input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned()),
            checksum_type: input.checksum_type.as_ref().map(|kind| kind.as_str().to_owned()),
            fields: fields_of!(input)?,
        };
        let store = self.store.clone();
        let id = blocking(move || store.start_upload(&upload).map_err(to_s3)).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let S3Request { input, headers, trailing_headers, .. } = req;
        if input.sse_customer_algorithm.is_some() {
            return Err(not_implemented("encryption by the server"));
        }
        let number = part_number(input.part_number)?;
        let claims = Claims::of(&headers, trailing_headers, input.content_length, input.content_md5)?;
        let (store, bucket, key, id) = (self.store.clone(), input.bucket, input.key, input.upload_id);
        let upload = {
            let id = id.clone();
            blocking(move || store.upload(&id, &bucket, &key).map_err(to_s3)).await?
        };
        drop(upload);
        let meta = receive(self.store.clone(), input.body, claims, move |store, received| {
            let meta = Meta {
                etag: received.md5,
                modified_ms: now_ms(),
                fields: Fields::default(),
                checksums: received.checksums,
            };
            store.put_part(&id, number, received.temp, &meta).map_err(to_s3)?;
            Ok(meta)
        })
        .await?;
        let checksums = &meta.checksums;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: etag(&meta),
            checksum_crc32: checksum_of(checksums, "crc32"),
            checksum_crc32c: checksum_of(checksums, "crc32c"),
            checksum_crc64nvme: checksum_of(checksums, "crc64nvme"),
            checksum_sha1: checksum_of(checksums, "sha1"),
            checksum_sha256: checksum_of(checksums, "sha256"),
            ..Default::default()
        }))
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = req.input;
        let number = part_number(input.part_number)?;
        let (source_bucket, source_key) = source(&input.copy_source)?;
        let wanted = match &input.copy_source_range {
            Some(text) => {
                Some(Range::parse(text).map_err(|_| s3_error!(InvalidArgument, "not a range: {text:?}"))?)
            }
            None => None,
        };
        let store = self.store.clone();
        let meta = blocking(move || {
            store.upload(&input.upload_id, &input.bucket, &input.key).map_err(to_s3)?;
            let object = store.get(&source_bucket, &source_key, 0).map_err(to_s3)?;
            check_copy(
                &object.meta,
                input.copy_source_if_match.as_ref(),
                input.copy_source_if_unmodified_since.as_ref(),
                input.copy_source_if_none_match.as_ref(),
                input.copy_source_if_modified_since.as_ref(),
            )?;
            let bytes = range(wanted, object.size)?.unwrap_or(0..object.size);
            let mut temp = store.temp().map_err(to_s3)?;
            let mut md5 = <md5::Md5 as md5::Digest>::new();
            multipart::append(&object, bytes.start, bytes.end - bytes.start, &mut temp, |piece| {
                md5::Digest::update(&mut md5, piece);
            })
            .map_err(to_s3)?;
            let digest = md5::Digest::finalize(md5);
            let meta = Meta {
                etag: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                modified_ms: now_ms(),
                ..Meta::default()
            };
            store.put_part(&input.upload_id, number, temp, &meta).map_err(to_s3)?;
            Ok(meta)
        })
        .await?;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: etag(&meta),
                last_modified: Some(timestamp(meta.modified_ms)),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let condition = condition(input.if_match, input.if_none_match)?;
        let whole = Whole {
            parts: input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default(),
            size: input.mpu_object_size,
            checksums: receive::by_algorithm(Checksum {
                checksum_crc32: input.checksum_crc32,
                checksum_crc32c: input.checksum_crc32c,
                checksum_crc64nvme: input.checksum_crc64nvme,
                checksum_sha1: input.checksum_sha1,
                checksum_sha256: input.checksum_sha256,
                ..Default::default()
            }),
        };
        let (store, bucket, key, id) = (self.store.clone(), input.bucket, input.key, input.upload_id);
        let answer = CompleteMultipartUploadOutput {
            location: Some(format!("/{bucket}/{key}")),
            bucket: Some(bucket.clone()),
            key: Some(key.clone()),
            ..Default::default()
        };
        let meta = blocking(move || {
            let upload = store.upload(&id, &bucket, &key).map_err(to_s3)?;
            store.complete(&id, &upload, &whole, &condition, now_ms())
        })
        .await?;
        let checksums = &meta.checksums;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            e_tag: etag(&meta),
            checksum_crc32: checksum_of(checksums, "crc32"),
            checksum_crc32c: checksum_of(checksums, "crc32c"),
            checksum_crc64nvme: checksum_of(checksums, "crc64nvme"),
            checksum_sha1: checksum_of(checksums, "sha1"),
            checksum_sha256: checksum_of(checksums, "sha256"),
            checksum_type: (!checksums.is_empty())
                .then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            ..answer
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let (store, input) = (self.store.clone(), req.input);
        blocking(move || {
            store.upload(&input.upload_id, &input.bucket, &input.key).map_err(to_s3)?;
            store.remove_upload(&input.upload_id).map_err(to_s3)
        })
        .await?;
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), StatusCode::NO_CONTENT))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let (store, input) = (self.store.clone(), req.input);
        let max = page_max(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let (upload, parts) = blocking(move || {
            let upload = store.upload(&id, &bucket, &key).map_err(to_s3)?;
            Ok((upload, store.parts(&id).map_err(to_s3)?))
        })
        .await?;
        let mut parts: Vec<Part> = parts
            .into_iter()
            .filter(|part| part.number > after)
            .map(|part| {
                let meta = part.object.meta;
                Part {
                    part_number: Some(part.number),
                    size: Some(i64::try_from(part.object.size).unwrap_or(i64::MAX)),
                    e_tag: etag(&meta),
                    last_modified: Some(timestamp(meta.modified_ms)),
                    checksum_crc32: checksum_of(&meta.checksums, "crc32"),
                    checksum_crc32c: checksum_of(&meta.checksums, "crc32c"),
                    checksum_crc64nvme: checksum_of(&meta.checksums, "crc64nvme"),
                    checksum_sha1: checksum_of(&meta.checksums, "sha1"),
                    checksum_sha256: checksum_of(&meta.checksums, "sha256"),
                }
            })
            .collect();
        let truncated = parts.len() > max as usize;
        parts.truncate(max as usize);
        let next = parts.last().and_then(|part| part.part_number).filter(|_| truncated);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            checksum_algorithm: upload.algorithm.map(ChecksumAlgorithm::from),
            checksum_type: upload.checksum_type.map(ChecksumType::from),
            is_truncated: Some(truncated),
            max_parts: Some(max),
            part_number_marker: Some(after),
            next_part_number_marker: next,
            parts: Some(parts),
            owner: owner(),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let (store, input) = (self.store.clone(), req.input);
        if input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()) {
            return Err(not_implemented("a delimiter in a listing of uploads"));
        }
        let url = is_url(input.encoding_type.as_ref())?;
        let max = page_max(input.max_uploads)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker = input.key_marker.clone().unwrap_or_default();
        let id_marker = input.upload_id_marker.clone().unwrap_or_default();
        let bucket = input.bucket.clone();
        let mut uploads = blocking(move || store.all_uploads(&bucket).map_err(to_s3)).await?;
        uploads.retain(|(id, upload)| {
            let is_after = marker.is_empty()
                || upload.key > marker
                || (upload.key == marker && !id_marker.is_empty() && *id > id_marker);
            upload.key.starts_with(&prefix) && is_after
        });
        let truncated = uploads.len() > max as usize;
        uploads.truncate(max as usize);
        let last = uploads.last().filter(|_| truncated).map(|(id, upload)| (id.clone(), upload.key.clone()));
        let (next_id, next_key) = last.unzip();
        let uploads = uploads
            .into_iter()
            .map(|(id, upload)| MultipartUpload {
                key: Some(url_encoded(url, upload.key)),
                upload_id: Some(id),
                initiated: Some(timestamp(upload.started_ms)),
                owner: owner(),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                ..Default::default()
            })
            .collect();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix.map(|prefix| url_encoded(url, prefix)),
            key_marker: input.key_marker.map(|marker| url_encoded(url, marker)),
            upload_id_marker: input.upload_id_marker,
            encoding_type: input.encoding_type,
            is_truncated: Some(truncated),
            max_uploads: Some(max),
            next_key_marker: next_key.map(|key| url_encoded(url, key)),
            next_upload_id_marker: next_id,
            uploads: Some(uploads),
            ..Default::default()
        }))
    }
}

fn part_number(number: i32) -> S3Result<i32> {
    if (1..=multipart::PART_NUMBER_MAX).contains(&number) {
        Ok(number)
    } else {
        Err(s3_error!(InvalidArgument, "a part's number is from 1 to {}", multipart::PART_NUMBER_MAX))
    }
}
